"""A tagger that writes tags in its own words, and the vocabulary that makes tags of them.

Two steps: a model writes raw tags for each query, slowly and once; then the raw tags of the whole
corpus are normalised, in seconds. The lake keeps both apart, so that another vocabulary asks no
model again.
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import polars as pl

from cluster.query import digest
from cluster.tags.tagger import Tagger
from cluster.tags.vocabulary import VocabularySettings, learn_vocabulary

RAW_SCHEMA = pl.Schema(
    {
        "query_id": pl.String(),
        "place": pl.Int32(),
        "raw_tag": pl.String(),
        "reason": pl.String(),
        "prompt_tokens": pl.Int32(),
        "completion_tokens": pl.Int32(),
        "cost_usd": pl.Float64(),
    }
)
"""What a tagger wrote: one row a tag of a query, `place` from 0. Where there is none, `raw_tag` is
null and `reason` says why, at least once for a query without any; so it is not asked again. Tokens
and their price in USD stand in the query's first row, null elsewhere or where unknown."""
Write = Callable[[pl.DataFrame], pl.DataFrame]


class OpenTagger(Tagger):
    """A tagger with an open vocabulary.

    Attributes:
        vocabulary: how its raw tags are normalised.
    """

    vocabulary: VocabularySettings = VocabularySettings()

    @abstractmethod
    def writer_spec(self) -> dict[str, Any]:
        """Everything that changes a raw tag; JSON values."""

    @property
    def writer_id(self) -> str:
        """Identity of its raw tags: whoever has it writes the same ones."""
        return digest([json.dumps(self.writer_spec(), sort_keys=True, ensure_ascii=False)])

    def spec(self) -> dict[str, Any]:
        """See `IdentifiedSpec.spec`; who writes, and how that is normalised."""
        return {
            "tagger": self.name,
            "version": self.version,
            "writer_id": self.writer_id,
            "vocabulary": self.vocabulary.model_dump(mode="json"),
        }

    def described(self) -> dict[str, Any]:
        """The same with what helps a reader, such as a model's name, and changes no tag."""
        return self.spec()

    @abstractmethod
    def open(self) -> AbstractContextManager[Write]:
        """What writes raw tags, for as long as it is open: queries → `RAW_SCHEMA`.

        A query it could not ask has no row, and is asked again in the next run.
        """

    def tag(self, queries: pl.DataFrame) -> pl.DataFrame:
        """See `Tagger.tag`; by a vocabulary made from these queries alone."""
        with self.open() as write:
            pairs = write(queries).select("query_id", "raw_tag").drop_nulls()
        return learn_vocabulary(pairs, settings=self.vocabulary).tags_of(pairs)

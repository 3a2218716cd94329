"""A tagger says what a query is about, in none, one or several tags."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import polars as pl

from cluster.candidate import Resources
from cluster.plugins import Kind
from cluster.query import digest
from cluster.spec import IdentifiedSpec

Tag = Callable[[pl.DataFrame], pl.DataFrame]


class Tagger(IdentifiedSpec):
    """Settings of a tagger, and how it tags. One subclass a method.

    A subclass is registered as an entry point of the group `signalbox.taggers` under its name.

    Attributes:
        learns_from_corpus: whether its tags are learned from all queries together.
        needs_actor: whether it holds a model, or works for long: it then runs in actors of Ray,
            each with `placement`, and is opened once in each.
    """

    kind: ClassVar[str] = "tagger"
    plugins: ClassVar[Kind] = "taggers"
    learns_from_corpus: ClassVar[bool] = False
    needs_actor: ClassVar[bool] = False

    def id_for(self, queries: pl.DataFrame) -> str:
        """Identity of the tags these queries get: `tagger_id`, or with the corpus where the tags
        are learned from it and mean nothing beside another."""
        if not self.learns_from_corpus:
            return self.tagger_id
        return digest([self.tagger_id, *queries["query_id"].sort()])

    @property
    def placement(self) -> Resources:
        """What one of its actors needs, and how many there may be."""
        return Resources()

    @property
    def tagger_id(self) -> str:
        """Identity of the tags it gives: the hash of its spec."""
        return self.spec_id

    @abstractmethod
    def tag(self, queries: pl.DataFrame) -> pl.DataFrame:
        """Tags of the queries.

        Args:
            queries: `query_id`, `task` (nullable) and `text`, all str, one row a query.

        Returns:
            `query_id`, `tag`, both str, one row a tag; a query may have none or several, but
            never the same tag twice.
        """

    def open(self) -> AbstractContextManager[Tag]:
        """What tags, for as long as it is open; taggers with a model load it here."""
        return nullcontext(self.tag)


def load_tagger(name: str, /, **settings: Any) -> Tagger:
    """The tagger of that name with its settings.

    Raises:
        InputError: the name is not installed, or a setting is unknown or out of range.
    """
    return Tagger.from_plugin(name, settings=settings)

"""InsTag: a language model says in its own words what a query is about and what it asks for.

Lu et al., "#InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of Large Language
Models", ICLR 2024, arXiv 2308.07074. The prompt is ours, and no explanations are asked for: the
answer follows a JSON schema instead.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import Field, field_validator

from cluster.candidate import Candidate, Resources, resolve
from cluster.encoders.encoder import load_encoder
from cluster.engines.engine import Engine, Request
from cluster.errors import InputError
from cluster.plugins import load_plugin, plugin_names
from cluster.price import TOKENS_PER_UNIT
from cluster.tags.open_vocabulary import RAW_SCHEMA, OpenTagger, Write
from cluster.tags.tag_answer import read_tags, tags_schema

LOG = logging.getLogger("signalbox.instag")
TEXT = "{text}"
PROMPT = f"""\
Read the query between the lines and say what it asks for: its intention, its subject and the \
skills it takes. Give one to five tags of one to three English words each, in lower case, the most \
important first, as JSON: {{"tags": ["first tag", "second tag"]}}. Do not answer the query.
-----
{TEXT}
-----
Tags as JSON:"""


class InsTag(OpenTagger):
    """A model that writes tags, by any engine.

    Attributes:
        candidate: the model, as an entry of a candidate file (its name may be left out, and
            samples count for nothing).
        structured: whether its answers are held to a JSON schema; without, and with engines that
            cannot, what it writes freely is read.
        prompt: what it is asked; `{text}` stands for the query.
        max_tags: tags a query may have; more are not read.
        max_characters: length of a tag; a longer one is none.
        max_query_characters: what is behind them in a query is not shown to the model.
    """

    name: ClassVar[str] = "instag"
    needs_actor: ClassVar[bool] = True

    candidate: Candidate
    structured: bool = True
    prompt: str = PROMPT
    max_tags: int = Field(default=5, ge=1, le=50)
    max_characters: int = Field(default=40, ge=1, le=200)
    max_query_characters: int = Field(default=4_000, ge=1)

    @field_validator("candidate", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return {"name": "tagger"} | given if isinstance(given, dict) else given

    @field_validator("candidate")
    @classmethod
    def _without_schema(cls, candidate: Candidate) -> Candidate:
        if candidate.sampling.json_schema is not None:
            raise ValueError("the tagger sets sampling.json_schema itself; remove it")
        return candidate

    @field_validator("prompt")
    @classmethod
    def _asks_about_the_query(cls, prompt: str) -> str:
        if TEXT not in prompt:
            raise ValueError(f"it must contain {TEXT}, where the query is to stand")
        return prompt

    @property
    def asked(self) -> Candidate:
        """The candidate, held to the schema where it is to be."""
        if not self.structured:
            return self.candidate
        schema = tags_schema(max_tags=self.max_tags, max_characters=self.max_characters)
        sampling = self.candidate.sampling.model_copy(update={"json_schema": schema})
        return self.candidate.model_copy(update={"sampling": sampling})

    @property
    def placement(self) -> Resources:
        """What the candidate needs."""
        return self.candidate.resources

    def writer_spec(self) -> dict[str, Any]:
        """The model by its identity, the prompt and the limits."""
        return {
            "tagger": self.name,
            "version": self.version,
            "candidate_id": self.asked.candidate_id,
            "prompt": self.prompt,
            "max_tags": self.max_tags,
            "max_characters": self.max_characters,
            "max_query_characters": self.max_query_characters,
        }

    def described(self) -> dict[str, Any]:
        """See `OpenTagger.described`."""
        return self.spec() | {"writer": self.writer_spec() | {"model": self.candidate.model}}

    def resolved(self, folder: Path) -> Self:
        """See `IdentifiedSpec.resolved`; the encoder's model too."""
        settings = dict(self.vocabulary.encoder_settings)
        model = settings.get("model")
        if isinstance(model, str) and (folder / model).exists():
            settings["model"] = str((folder / model).resolve())
        load_encoder(self.vocabulary.encoder, **settings)
        vocabulary = self.vocabulary.model_copy(update={"encoder_settings": settings})
        return self.model_copy(
            update={"candidate": self._resolved_candidate(folder), "vocabulary": vocabulary}
        )

    def _resolved_candidate(self, folder: Path) -> Candidate:
        engine = self.candidate.engine
        if self.structured and engine in plugin_names("engines"):
            try:
                load_plugin("engines", name=engine).check(self.asked)
            except InputError as error:
                told = f"{error}; or 'structured: false' reads what it writes freely"
                raise InputError(told) from error
        return resolve(self.candidate, folder=folder)

    @contextmanager
    def open(self) -> Iterator[Write]:
        """See `OpenTagger.open`; the engine lives as long."""
        with load_plugin("engines", name=self.candidate.engine)(self.asked) as engine:
            yield partial(self._write, engine)

    def _write(self, engine: Engine, queries: pl.DataFrame) -> pl.DataFrame:
        """`RAW_SCHEMA` of the queries that the engine answered, in their order."""
        texts = queries["text"].str.slice(0, self.max_query_characters)
        requests = [
            Request(query_id=query_id, text=self.prompt.replace(TEXT, text))
            for query_id, text in zip(queries["query_id"], texts, strict=True)
        ]
        answers = engine.answer(requests)
        failed = answers.filter(pl.col("outcome") == "error")
        if failed.height:
            LOG.warning(
                "%d of %d queries could not be asked about, the first: %s",
                failed.height,
                len(requests),
                failed["error"][0],
            )
        rows = [row for one in answers.iter_rows(named=True) for row in self._rows(one)]
        return pl.DataFrame(rows, schema=RAW_SCHEMA, orient="row")

    def _rows(self, answer: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of one answer; none of an error."""
        if answer["outcome"] == "error":
            return []
        tags = read_tags(
            answer["text"] or "",
            outcome=answer["outcome"],
            max_tags=self.max_tags,
            max_characters=self.max_characters,
        )
        spent = (answer["prompt_tokens"], answer["completion_tokens"], self._cost(answer))
        nothing = (None, None, None)
        return [
            (answer["query_id"], place, *read, *(nothing if place else spent))
            for place, read in enumerate(tags)
        ]

    def _cost(self, answer: dict[str, Any]) -> float | None:
        """USD of one answer: what an endpoint told, else its tokens by the candidate's price."""
        price = self.candidate.price
        told: float | None = answer["cost_usd"]
        read, wrote = answer["prompt_tokens"], answer["completion_tokens"]
        if told is not None or price is None or read is None or wrote is None:
            return told
        return float(read * price.input + wrote * price.output) / TOKENS_PER_UNIT

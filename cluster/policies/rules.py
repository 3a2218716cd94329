"""Rules of a user: which candidates may answer queries with a tag, or in a language."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Self

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator, model_validator

from cluster.errors import InputError
from cluster.spec_file import read_spec_file, validated


def _as_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_many)]


class Rule(BaseModel):
    """One entry of a rule file; every list may be a single name.

    A rule is about the queries for which all of its conditions hold. A query without a tag, or
    without a language, has none of the named ones.

    Attributes:
        tag: condition: the query has one of these tags.
        not_tag: condition: it has none of these.
        language: condition: it is in one of these languages (ISO 639, such as de).
        not_language: condition: it is in none of these.
        only: no other candidate may answer.
        never: these may not answer.
        prefer: no other may answer, as long as one of these may by everything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: Names = ()
    not_tag: Names = ()
    language: Names = ()
    not_language: Names = ()
    only: Names = ()
    never: Names = ()
    prefer: Names = ()

    @field_validator("language", "not_language")
    @classmethod
    def _are_codes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.fullmatch("[a-z]{2,3}", name):
                raise ValueError(f"expected ISO 639 codes such as de or zh, got '{name}'")
        return names

    @model_validator(mode="after")
    def _says_when_and_what(self) -> Self:
        if not (self.tag or self.not_tag or self.reads_language):
            raise ValueError("name a condition: tag, not_tag, language or not_language")
        if not self.candidates:
            raise ValueError("name candidates: only, never or prefer")
        return self

    @property
    def reads_tag(self) -> bool:
        """Whether it asks for tags."""
        return bool(self.tag or self.not_tag)

    @property
    def reads_language(self) -> bool:
        """Whether it asks for the language."""
        return bool(self.language or self.not_language)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Everyone it names."""
        return (*self.only, *self.never, *self.prefer)

    @property
    def words(self) -> str:
        """The rule, as it stands in the file."""
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False)

    def about(self, *, tags: pl.Series | None, languages: pl.Series | None) -> pl.Series:
        """(n_queries,) whether its conditions hold.

        Args:
            tags: (n_queries,) as a file's column holds them (`has_any`); None if it asks for none.
            languages: (n_queries,) codes; None if it asks for none.
        """
        conditions = []
        for values, wanted, unwanted in (
            (tags, self.tag, self.not_tag),
            (languages, self.language, self.not_language),
        ):
            if values is not None and wanted:
                conditions.append(has_any(values, wanted=wanted))
            if values is not None and unwanted:
                conditions.append(~has_any(values, wanted=unwanted))
        holds = conditions[0]
        for condition in conditions[1:]:
            holds = holds & condition
        return holds


def read_rules(path: str) -> tuple[Rule, ...]:
    """The rules of a YAML or TOML file: a list, or a list under `rules`.

    Raises:
        InputError: the file is none, or names the entry and the field that is wrong.
    """
    content = read_spec_file(Path(path), flag="--rules")
    entries = content.get("rules") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"{path}: expected a list of rules such as '- {{tag: medical, only: [a, b]}}'"
        )
    return tuple(
        validated(Rule, entry, where=f"{path}: rule {number}")
        for number, entry in enumerate(entries, start=1)
    )


def has_any(values: pl.Series, *, wanted: Collection[str]) -> pl.Series:
    """(n,) whether each value is one of the wanted ones, or a list that holds one; not for null.

    A list may also be the JSON text of one, as readers of text formats hand lists on.
    """
    if isinstance(values.dtype, pl.List):
        lists = values.cast(pl.List(pl.String))
        held = lists.list.set_intersection(list(wanted)).list.len() > 0
        return held.fill_null(False)
    texts = values.cast(pl.String)
    kinds = texts.unique().drop_nulls().to_list()
    holding = [text for text in kinds if set(wanted) & _names_in(text)]
    return texts.is_in(holding).fill_null(False)


def _names_in(text: str) -> set[str]:
    """The names that a cell holds: its text, or the texts in a JSON list."""
    if not text.startswith("["):
        return {text}
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {text}
    return {str(name) for name in found} if isinstance(found, list) else {text}

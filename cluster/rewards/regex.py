"""A regular expression the answer has to match."""

from typing import ClassVar

import polars as pl
from pydantic import Field, field_validator

from cluster.rewards.exact import BLANKS
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Scorer

LINEAR = "look-arounds and back-references are not supported, so that every search is linear"


class Regex(Scorer):
    """1 where the pattern is found in the answer, else 0.

    The pattern is the reference, or one for all. Its language is that of Rust's `regex`, whose
    searches take time linear in the answer: no pattern hangs. Null where the pattern is broken,
    with what is wrong as the reason.

    Attributes:
        pattern: for all answers; without it each reference is a pattern.
        whole: whether the answer as a whole has to match, white space around it put aside.
        ignore_case: whether capitals and small letters are the same.
    """

    name: ClassVar[str] = "regex"

    pattern: str | None = Field(default=None, min_length=1, description="pattern for all answers")
    whole: bool = Field(default=False, description="the whole answer has to match")
    ignore_case: bool = Field(default=False, description="capitals and small letters are the same")

    @field_validator("pattern")
    @classmethod
    def _sound(cls, pattern: str | None) -> str | None:
        fault = None if pattern is None else _fault(pattern)
        if fault is not None:
            raise ValueError(f"no regular expression: {fault}; {LINEAR}")
        return pattern

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return self.pattern is None

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        return self.rate(answers).ratings["value"]

    def rate(self, answers: pl.DataFrame) -> Rated:
        """The same, and what is wrong with a reference that is no pattern; see `Scorer.rate`."""
        given = pl.col("reference") if self.pattern is None else pl.lit(self.pattern)
        pattern = given.cast(pl.String)
        pattern = pl.when(pattern.str.replace_all(BLANKS, "") != "").then(pattern)
        asked = answers.select(pl.col("text").cast(pl.String), pattern=pattern)
        found = asked.with_columns(value=self._found())
        broken = pl.col("text").is_not_null() & pl.col("pattern").is_not_null()
        faults = found.filter(broken & pl.col("value").is_null())["pattern"].unique()
        reasons = {pattern: _reason(pattern) for pattern in faults}
        reason = pl.when(broken & pl.col("value").is_null()).then(
            pl.col("pattern").replace_strict(reasons, default=None, return_dtype=pl.String)
        )
        rated = found.with_columns(raw=pl.lit(None), reason=reason)
        return Rated(rated.select(pl.col(n).cast(k) for n, k in RATING_SCHEMA.items()))

    def _found(self) -> pl.Expr:
        pattern, text = pl.col("pattern"), pl.col("text")
        if self.whole:
            pattern, text = pl.format(r"\A(?:{})\z", pattern), text.str.strip_chars()
        if self.ignore_case:
            pattern = pl.format("(?i){}", pattern)
        return text.str.contains(pattern, strict=False).cast(pl.Float64)


def _fault(pattern: str) -> str | None:
    """What is wrong with a pattern, in a line; None if nothing is."""
    try:
        pl.DataFrame({"text": [""]}).select(pl.col("text").str.contains(pattern))
    except pl.exceptions.ComputeError as error:
        said = [line for line in str(error).splitlines() if line.startswith("error: ")]
        return (said or str(error).splitlines())[0].removeprefix("error: ")[:200]
    return None


def _reason(pattern: str) -> str:
    shown = pattern if len(pattern) <= 60 else f"{pattern[:60]}…"
    fault = _fault(pattern) or "it cannot be combined with the settings"
    return f"the reference {shown!r} is no regular expression: {fault}; {LINEAR}"

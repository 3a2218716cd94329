"""Exact match after normalisation."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from cluster.rewards.scorer import Scorer

# Quotes of all kinds and Markdown's marks around a phrase. Brackets, `#`, `%`, `+`, `-` and `_`
# stay: "[1, 2]", "C#", "5%", "-5" and "__init__" mean something else without them.
QUOTES = "\"'`*´‘’‚‛“”„‟«»‹›「」『』"
# As Python sees white space; to polars the four separators of ASCII are none.
BLANKS = r"[\s\x1c-\x1f]+"
SENTENCE_STARTS = "¿¡"
SENTENCE_ENDS = ".,;:!?。、"


def normalised(text: pl.Expr) -> pl.Expr:
    """The form in which two answers are compared; applying it again changes nothing.

    NFKC, case-folded, runs of white space as one blank, quotes and Markdown marks around it and
    punctuation behind it taken off. What consists of punctuation alone is kept. Articles are kept:
    "a" may be the whole answer and "The Who" is not "who"; list such forms as alternatives.
    """
    spaced = folded(text).str.replace_all(BLANKS, " ").str.strip_chars()
    bare = spaced.str.strip_chars_start(QUOTES + SENTENCE_STARTS + " ")
    bare = bare.str.strip_chars_end(QUOTES + SENTENCE_ENDS + " ")
    return pl.when(bare != "").then(bare).otherwise(spaced)


def folded(text: pl.Expr) -> pl.Expr:
    """Compatibility case folding (Unicode 3.13, D146), whose single round is no fixed point.

    polars normalises, because `unicodedata` is quadratic in a run of combining marks (7 s for
    64,000 of them); Python folds, because polars only lower-cases ("STRASSE", "Straße").
    """
    once = _casefolded(text.str.normalize("NFD")).str.normalize("NFKC")
    return _casefolded(once).str.normalize("NFKC")


def _casefolded(text: pl.Expr) -> pl.Expr:
    return text.map_elements(str.casefold, return_dtype=pl.String)


class ExactMatch(Scorer):
    """1 where the whole answer equals the reference after normalisation, else 0.

    Null without a reference, a blank one included.

    Attributes:
        alternatives: text that separates the accepted answers within a reference ("|"); without
            it a reference is one answer.
    """

    name: ClassVar[str] = "exact"

    alternatives: str | None = Field(
        default=None, min_length=1, description="separator of the accepted answers in a reference"
    )

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        normal = answers.select(pl.col("text").pipe(normalised), self._accepted().alias("accepted"))
        equal = pl.col("accepted").list.contains(pl.col("text"))
        known = pl.col("text").is_not_null() & (pl.col("accepted").list.len() > 0)
        return normal.select(pl.when(known).then(equal.cast(pl.Float64)).alias("reward"))["reward"]

    def _accepted(self) -> pl.Expr:
        """Normalised answers a reference accepts, a list; blank ones do not count."""
        reference = pl.col("reference").cast(pl.String)
        if self.alternatives is None:
            parts = pl.concat_list(normalised(reference))
        else:
            parts = reference.str.split(self.alternatives).list.eval(normalised(pl.element()))
        filled = parts.list.eval(pl.element().filter(pl.element() != ""))
        return pl.when(reference.is_not_null()).then(filled)

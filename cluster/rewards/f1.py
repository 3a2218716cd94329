"""The words an answer shares with its reference."""

from collections import Counter
from typing import ClassVar

import polars as pl
from pydantic import Field

from cluster.rewards.exact import BLANKS, folded
from cluster.rewards.scorer import Scorer

# What string.punctuation holds and, of other scripts, all punctuation.
PUNCTUATION = r"[\p{P}$+<=>^`|~]"
ARTICLES = r"\b(?:a|an|the)\b"
# Scripts that put no blanks between words: a character is a word there, as in MLQA.
UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}])"


def words(text: pl.Expr) -> pl.Expr:
    """The words of a text, a list of str: folded case, no punctuation, no English articles.

    Punctuation leaves no gap ("don't" is one word). What consists of articles or punctuation
    alone keeps them, for "the" may be the whole answer.
    """
    plain = folded(text)
    bare = plain.str.replace_all(PUNCTUATION, "").str.replace_all(ARTICLES, " ")
    kept = pl.when(bare.str.replace_all(BLANKS, "") != "").then(bare).otherwise(plain)
    spaced = kept.str.replace_all(UNSPACED, " $1 ").str.replace_all(BLANKS, " ")
    return spaced.str.split(" ").list.eval(pl.element().filter(pl.element() != ""))


class TokenF1(Scorer):
    """Harmonic mean of precision and recall over words, the best of the accepted answers.

    As SQuAD measures it (Rajpurkar et al. 2016, section 6.1): a word counts as often as both have
    it. Null without a reference, a blank one included.

    Attributes:
        alternatives: text that separates the accepted answers within a reference ("|"); without
            it a reference is one answer.
    """

    name: ClassVar[str] = "f1"

    alternatives: str | None = Field(
        default=None, min_length=1, description="separator of the accepted answers in a reference"
    )

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        said = answers.select(words(pl.col("text"))).to_series()
        references = {text: self._accepted(text) for text in answers["reference"].unique() if text}
        # Row by row: polars counts what two lists share, but not how often.
        rewards = [
            _best(answer, accepted=references.get(reference, []))
            for answer, reference in zip(said, answers["reference"], strict=True)
        ]
        return pl.Series("reward", rewards, dtype=pl.Float64)

    def _accepted(self, reference: str) -> list[Counter[str]]:
        """Words of every answer a reference accepts; blank ones do not count."""
        parts = reference.split(self.alternatives) if self.alternatives else [reference]
        lists = pl.DataFrame({"part": parts}).select(words(pl.col("part"))).to_series()
        return [Counter(part) for part in lists if len(part)]


def _best(answer: pl.Series | None, *, accepted: list[Counter[str]]) -> float | None:
    if answer is None or not accepted:
        return None
    counts = Counter(answer)
    return max(_f1(counts, right) for right in accepted)


def _f1(answer: Counter[str], right: Counter[str]) -> float:
    return 2 * (answer & right).total() / (answer.total() + right.total())

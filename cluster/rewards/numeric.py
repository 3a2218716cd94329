"""The number in an answer against the number in its reference."""

from decimal import Decimal
from typing import ClassVar

import polars as pl
from pydantic import Field

from cluster.rewards.number import ARITHMETIC, Number, extract_number, read_number
from cluster.rewards.scorer import Scorer

__all__ = ["Numeric", "extract_number"]


class Numeric(Scorer):
    """1 where the answer's number equals the reference's, else 0; 0 for an answer without one.

    Null where the reference holds no number. How numbers are read: `cluster.rewards.number`.
    "50%" equals 50 and 0.5 where the other side has no percent sign, for data sets differ in which
    of the two they mean; where both have one, the numbers before it are compared.

    Attributes:
        tolerance: largest accepted difference as a share of the reference's magnitude; a
            reference of 0 wants exactly 0.
    """

    name: ClassVar[str] = "numeric"

    tolerance: float = Field(
        default=1e-6,
        ge=0.0,
        lt=1.0,
        description="largest accepted difference, as a share of the reference's magnitude",
    )

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        # Row by row: the parser is Python, and no polars type holds decimals of any exponent.
        # A reference comes back with every candidate and sample, so each is read once.
        references = {text: read_number(text) for text in answers["reference"].unique() if text}
        rewards = [
            self._reward(text, reference=references.get(reference))
            for text, reference in answers.select("text", "reference").iter_rows()
        ]
        return pl.Series("reward", rewards, dtype=pl.Float64)

    def _reward(self, text: str | None, *, reference: Number | None) -> float | None:
        if text is None or reference is None:
            return None
        answer = read_number(text)
        return float(answer is not None and self._agree(answer, reference=reference))

    def _agree(self, answer: Number, *, reference: Number) -> bool:
        if self._near(answer.value, reference=reference.value):
            return True
        if answer.percent == reference.percent:
            return False
        shift = Decimal(-2 if answer.percent else 2)
        return self._near(ARITHMETIC.scaleb(answer.value, shift), reference=reference.value)

    def _near(self, value: Decimal, *, reference: Decimal) -> bool:
        difference = ARITHMETIC.abs(ARITHMETIC.subtract(value, reference))
        share = Decimal(str(self.tolerance))
        return difference <= ARITHMETIC.multiply(share, ARITHMETIC.abs(reference))

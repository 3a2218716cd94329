"""What answers are expected to come to, by what the router predicts."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Expected:
    """Of one candidate's answers.

    Attributes:
        requests: how many.
        prompt_tokens, completion_tokens, usd: sums; None where a request's are not known.
    """

    requests: int = 0
    prompt_tokens: float | None = 0.0
    completion_tokens: float | None = 0.0
    usd: float | None = 0.0

    @classmethod
    def of(cls, asks: pl.DataFrame, *, column: int, ratio: float | None) -> "Expected":
        """Of requests (`characters`, `tokens:…`, `cost:…`) to the candidate of a column.

        Args:
            asks: the requests.
            column: of the candidate.
            ratio: its prompt tokens a character, None where not known.
        """
        if asks.is_empty():
            return cls()
        return cls(
            asks.height,
            None if ratio is None else float(asks["characters"].sum()) * ratio,
            _known(asks[f"tokens:{column}"]),
            _known(asks[f"cost:{column}"]),
        )

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(
            self.requests + other.requests,
            plus(self.prompt_tokens, other.prompt_tokens),
            plus(self.completion_tokens, other.completion_tokens),
            plus(self.usd, other.usd),
        )

    def told(self) -> dict[str, Any]:
        """As a manifest has it."""
        return asdict(self)


def plus(one: float | None, other: float | None) -> float | None:
    """The sum, or None where a part of it is not known."""
    return None if one is None or other is None else one + other


def _known(values: pl.Series) -> float | None:
    total = float(values.cast(pl.Float64).sum())
    return None if math.isnan(total) or values.null_count() else total

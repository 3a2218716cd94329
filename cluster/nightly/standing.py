"""How much a lake holds of some datasets: whether anything has come since the last night."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import polars as pl

from cluster.lake.kept_out import RELEASED
from cluster.lake.lake import Lake
from cluster.lake.tables import ADMISSIONS, COMPLETIONS, QUERIES, REWARDS


@dataclass(frozen=True)
class Standing:
    """Rows of some datasets; the tables only grow, so equal numbers mean that nothing has come.

    Attributes:
        queries: of the datasets.
        answers: to them, by anybody, errors included.
        rewards: of these answers, by any scorer.
        released: batches of labels that were kept out and then let in by hand, of any dataset.
    """

    queries: int
    answers: int
    rewards: int
    released: int

    @classmethod
    def of(cls, lake: Lake, *, datasets: Sequence[str]) -> Self:
        """As of now."""
        own = lake.scan(QUERIES).filter(pl.col("dataset").is_in(list(datasets))).select("query_id")
        answers = lake.scan(COMPLETIONS).join(own, on="query_id", how="semi")
        rewards = lake.scan(REWARDS).filter(pl.col("value").is_finite())
        return cls(
            queries=_count(own),
            answers=_count(answers),
            rewards=_count(rewards.join(own, on="query_id", how="semi")),
            released=_count(lake.scan(ADMISSIONS).filter(pl.col("event") == RELEASED)),
        )

    def as_json(self) -> dict[str, Any]:
        """JSON values; `Standing(**values)` is the inverse."""
        return asdict(self)


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())

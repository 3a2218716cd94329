"""Who answers what kind of query: rows, choices, predicted reward and cost by tag, added up."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

# Of a shard, and of the file: a column that names a task has few values, and one that does not
# must not fill a manifest.
MOST_TAGS = 100
OTHERS = "(others)"
NO_TAG = "(none)"


class Tally(BaseModel):
    """What became of the rows of one tag.

    Attributes:
        rows: how many; not whole numbers where a sample stands for all.
        chosen: of these, by candidate, in the router's order.
        reward: predicted, summed, of the candidates chosen; None where a row's is not known.
        cost_usd: predicted, summed; None where a row's is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: float
    chosen: tuple[float, ...]
    reward: float | None
    cost_usd: float | None

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            rows=self.rows + other.rows,
            chosen=tuple(a + b for a, b in zip(self.chosen, other.chosen, strict=True)),
            reward=_both(self.reward, other=other.reward),
            cost_usd=_both(self.cost_usd, other=other.cost_usd),
        )


Tallies = dict[str, Tally]


def _both(own: float | None, *, other: float | None) -> float | None:
    return None if own is None or other is None else own + other


def tallies(rows: pl.DataFrame, *, n_candidates: int, stands_for: float = 1.0) -> Tallies:
    """By tag, the greatest `MOST_TAGS` of them, the others together.

    Args:
        rows: `tag`, `column` (of the candidate chosen), `reward` and `cost` (NaN where unknown).
        n_candidates: of the router.
        stands_for: how many rows each of these stands for.
    """
    tagged = rows.with_columns(pl.col("tag").cast(pl.String).fill_null(NO_TAG))
    sums = tagged.group_by("tag").agg(
        rows=pl.len(),
        **{str(column): (pl.col("column") == column).sum() for column in range(n_candidates)},
        reward=pl.col("reward").sum(),
        cost=pl.col("cost").sum(),
    )
    found: Tallies = {}
    for tag, count, *chosen, reward, cost in sums.sort("tag").iter_rows():
        found[tag] = Tally(
            rows=count * stands_for,
            chosen=tuple(n * stands_for for n in chosen),
            reward=None if math.isnan(reward) else reward * stands_for,
            cost_usd=None if math.isnan(cost) else cost * stands_for,
        )
    return greatest(found)


def added(parts: Sequence[Mapping[str, Tally]]) -> Tallies:
    """Those of several shards together."""
    found: Tallies = {}
    for part in parts:
        for tag, tally in part.items():
            found[tag] = found[tag] + tally if tag in found else tally
    return greatest(found)


def greatest(found: Tallies) -> Tallies:
    """The tags with most rows, at most `MOST_TAGS`; what is left is one more."""
    order = sorted(found, key=lambda tag: (tag == OTHERS, -found[tag].rows, tag))
    if len(order) <= MOST_TAGS:
        return {tag: found[tag] for tag in order}
    kept = {tag: found[tag] for tag in order[: MOST_TAGS - 1]}
    first, *rest = order[MOST_TAGS - 1 :]
    others = found[first]
    for tag in rest:
        others = others + found[tag]
    return kept | {OTHERS: others}


def as_rows(found: Mapping[str, Tally], *, candidates: Sequence[str]) -> list[dict[str, Any]]:
    """One JSON object a tag: rows, shares of the candidates, mean reward, cost."""
    return [
        {
            "tag": tag,
            "rows": round(tally.rows),
            "shares": {
                name: n / tally.rows for name, n in zip(candidates, tally.chosen, strict=True)
            },
            "predicted_reward": None if tally.reward is None else tally.reward / tally.rows,
            "predicted_cost_usd": tally.cost_usd,
        }
        for tag, tally in found.items()
        if tally.rows
    ]

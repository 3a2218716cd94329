"""The short table a command ends with: what each method is worth and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cluster.evaluation.baselines import (
    ALL_BASELINES,
    CANDIDATE,
    COST_MATCHED_MIX,
    ORACLE,
)
from cluster.evaluation.metrics import ALL_TASKS

HEADINGS = ("method", "accuracy %", "95 % interval", "USD per 1,000", "gap closed %")
UNKNOWN = "–"


@dataclass(frozen=True)
class TableRow:
    """One method.

    Attributes:
        method: its name.
        macro_accuracy, low, high: fraction and its interval.
        usd_per_1000: cost of 1,000 queries; None where unknown.
        oracle_gap_closed: fraction; None where undefined.
    """

    method: str
    macro_accuracy: float
    low: float
    high: float
    usd_per_1000: float | None
    oracle_gap_closed: float | None

    def cells(self) -> tuple[str, ...]:
        """Text for each of `HEADINGS`; accuracies in percent."""
        cost, gap = self.usd_per_1000, self.oracle_gap_closed
        return (
            self.method,
            f"{100 * self.macro_accuracy:.1f}",
            f"{100 * self.low:.1f} – {100 * self.high:.1f}",
            UNKNOWN if cost is None else f"{cost:.4g}",
            UNKNOWN if gap is None else f"{100 * gap:.0f}",
        )


def table_rows(rows: pl.DataFrame, *, methods: Sequence[str] | None = None) -> list[TableRow]:
    """One row a method of one dataset's metrics: candidates, baselines, routers, oracle.

    Args:
        rows: metrics of one dataset and split.
        methods: which, in this order; all but the routers' mixes by default.
    """
    wide = overall(rows, metrics=("macro_accuracy", "mean_cost_usd", "oracle_gap_closed"))
    shown = ordered(list(wide)) if methods is None else list(methods)
    return [_row(method, wide[method]) for method in shown]


def overall(
    rows: pl.DataFrame, *, metrics: Sequence[str]
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By method and metric: value, ci_low, ci_high over all tasks."""
    chosen = rows.filter((pl.col("task") == ALL_TASKS) & pl.col("metric").is_in(list(metrics)))
    assert not chosen.select("method", "metric").is_duplicated().any(), "rows of several datasets"
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    columns = ("method", "metric", "value", "ci_low", "ci_high")
    for method, metric, *values in chosen.select(columns).iter_rows():
        found.setdefault(method, {})[metric] = (values[0], values[1], values[2])
    return found


def ordered(methods: Sequence[str]) -> list[str]:
    """Candidates, then baselines, then routers, then the oracle; mixes are left out."""
    first = [name for name in methods if name.startswith(CANDIDATE)]
    mixes = [name for name in methods if name.startswith(COST_MATCHED_MIX)]
    baselines = [name for name in ALL_BASELINES if name in methods and name != ORACLE]
    last = [name for name in (ORACLE,) if name in methods]
    taken = {*first, *mixes, *baselines, *last}
    return [*first, *baselines, *(name for name in methods if name not in taken), *last]


def _row(method: str, found: dict[str, tuple[float, float, float]]) -> TableRow:
    cost, gap = found.get("mean_cost_usd"), found.get("oracle_gap_closed")
    return TableRow(
        method,
        *found["macro_accuracy"],
        usd_per_1000=None if cost is None else 1000 * cost[0],
        oracle_gap_closed=None if gap is None else gap[0],
    )

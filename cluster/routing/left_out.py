"""Why rows were left out: reasons with their counts, and the first of the rows."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary

MOST_REASONS, FIRST_ROWS, RAW_CHARACTERS = 50, 5, 200
OTHER_REASONS = "other reasons"


class LeftOut:
    """Counts broken rows as they come; memory does not grow with them."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}
        self.first: list[dict[str, Any]] = []

    def add(self, broken: pl.DataFrame) -> None:
        """Count more of them: `file`, `row`, `reason`, `raw`, in the order of the input."""
        if len(self.first) < FIRST_ROWS:
            raw = pl.col("raw").str.slice(0, RAW_CHARACTERS)
            self.first += broken.head(FIRST_ROWS - len(self.first)).with_columns(raw).to_dicts()
        counts = broken["reason"].value_counts(sort=True, name="rows")
        for reason, rows in counts.sort("rows", "reason", descending=[True, False]).iter_rows():
            is_room = reason in self.reasons or len(self.reasons) < MOST_REASONS
            name = reason if is_room else OTHER_REASONS
            self.reasons[name] = self.reasons.get(name, 0) + rows

    def as_json(self) -> dict[str, Any]:
        """`reasons`, the most frequent first, and the `first` rows."""
        order = sorted(self.reasons, key=lambda reason: (-self.reasons[reason], reason))
        reasons = [{"reason": reason, "rows": self.reasons[reason]} for reason in order]
        return {"reasons": reasons, "first": self.first}


def left_out(summaries: Sequence[ShardSummary], *, store: Store) -> dict[str, Any]:
    """`LeftOut.as_json` of all shards."""
    found = LeftOut()
    for summary in summaries:
        if summary.broken:
            found.add(store.read_broken(summary.key))
    return found.as_json()

"""Battles: which of two candidates somebody preferred on a query, as published by someone else.

An importer of battles answers with one, as one of scores answers with a `ScoreTable`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from cluster.importers.score_table import LEFT_OUT_SCHEMA, QUERY_KEY, conform, with_occurrence

TIE = 0.5
BATTLE_SCHEMA: dict[str, type[pl.DataType]] = {
    "split": pl.String,
    "task": pl.String,
    "text": pl.String,
    "occurrence": pl.Int64,
    "candidate_a": pl.String,
    "candidate_b": pl.String,
    "judge": pl.String,
    "outcome": pl.Float64,
}


@dataclass(frozen=True)
class BattleTable:
    """Battles of candidates on queries.

    Attributes:
        rows: one row a battle, columns `BATTLE_SCHEMA`. `text` is normalised; `outcome` is between
            0 and 1, how far candidate a is preferred, 1/2 for a tie; the n-th battle of the same
            two before the same judge on the same (split, task, text) has `occurrence` n − 1.
        left_out: rows of the files that are not in `rows`, and why, columns `LEFT_OUT_SCHEMA`.
        notes: what was decided about the files that their owner may want to know.
    """

    rows: pl.DataFrame
    left_out: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEFT_OUT_SCHEMA))
    notes: tuple[str, ...] = ()

    @property
    def queries(self) -> pl.DataFrame:
        """(n_queries, 5): `QUERY_KEY` and `reference`, which nobody knows, in file order."""
        first = self.rows.select(QUERY_KEY).unique(maintain_order=True)
        return first.with_columns(reference=pl.lit(None, dtype=pl.String))

    @property
    def candidates(self) -> list[str]:
        """Readable names, sorted."""
        sides = (self.rows["candidate_a"], self.rows["candidate_b"])
        return pl.concat(side.alias("candidate") for side in sides).unique().sort().to_list()

    @property
    def ties(self) -> int:
        """How many came out even."""
        return int((self.rows["outcome"] == TIE).sum())


def battles_of(
    rows: pl.DataFrame, *, left_out: pl.DataFrame, notes: Sequence[str] = ()
) -> BattleTable:
    """Number the repetitions of battles that have everything else of `BATTLE_SCHEMA`."""
    keys = ["split", "task", "text", "candidate_a", "candidate_b", "judge"]
    numbered = conform(with_occurrence(rows, keys=keys), schema=BATTLE_SCHEMA)
    return BattleTable(numbered, left_out.filter(pl.col("queries") > 0), tuple(notes))

"""Scores with one row a (query, candidate), and which of these rows are about the same query."""

from collections.abc import Sequence

import polars as pl

from cluster.importers.score_table import (
    QUERY_KEY,
    ROW_SCHEMA,
    ScoreTable,
    conform,
    count_left_out,
    with_occurrence,
)

TEXT_KEY = ["split", "task", "text"]


def long_table(rows: pl.DataFrame, *, notes: Sequence[str] = ()) -> ScoreTable:
    """A score table out of rows that do not say which occurrence of their text they are about.

    Rows of one text with the same `key` are about one query. Where a candidate (before the same
    scorer) has several rows of one text and key, the n-th of them is about the n-th such query.

    Args:
        rows: one row a (query, candidate, scorer) in file order: `ROW_SCHEMA` without
            `occurrence`, and `key`, by which the file itself tells queries apart (null where it
            does not). A null `value` is left out.
        notes: passed on.
    """
    numbered = _numbered(rows)
    known = numbered.filter(pl.col("value").is_not_null())
    first = numbered.unique(QUERY_KEY, maintain_order=True)
    unscored = count_left_out(
        first.join(known, on=QUERY_KEY, how="anti", nulls_equal=True),
        reason="no candidate has a score",
    )
    return ScoreTable(
        rows=conform(known, schema=ROW_SCHEMA),
        left_out=unscored.filter(pl.col("queries") > 0),
        notes=tuple(notes),
    )


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `occurrence`, which counts the queries of a text as they first appear."""
    own = [*TEXT_KEY, "key"]
    repeated = rows.with_columns(
        pl.int_range(pl.len()).over([*own, "candidate", "scorer"]).alias("repetition")
    )
    queries = repeated.select(*own, "repetition").unique(maintain_order=True)
    counted = with_occurrence(queries, keys=TEXT_KEY)
    return repeated.join(
        counted, on=[*own, "repetition"], how="left", nulls_equal=True, maintain_order="left"
    )

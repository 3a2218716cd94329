"""Verdicts: what users thought of answers they were given, one candidate's answer at a time."""

from dataclasses import dataclass

import polars as pl

# The scorer their rewards stand under.
SCORER = "user_verdict"
VERDICT_SCHEMA: dict[str, type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,
    "query_id": pl.String,
    "text": pl.String,
    "candidate": pl.String,
    "router": pl.String,
    "kind": pl.String,
    "value": pl.Float64,
    "choice_probability": pl.Float64,
}


@dataclass(frozen=True)
class VerdictTable:
    """Users' verdicts on candidates' answers.

    Attributes:
        rows: one row a verdict, columns `VERDICT_SCHEMA`. The query is named by `query_id` or by
            its normalised `text`, or both; `router` is the version that chose the candidate, where
            it is known; `kind` is the column the verdict stood in; `value` is between 0 (bad) and
            1 (good); `choice_probability` is how likely the candidate was to be chosen, where it is
            known.
        broken: rows that could not be read, columns of `cluster.files.batch.BROKEN_SCHEMA`.
        silent: rows without a verdict, of which a routed file has many.
        notes: what was decided about the files that their owner may want to know.
    """

    rows: pl.DataFrame
    broken: pl.DataFrame
    silent: int
    notes: tuple[str, ...] = ()

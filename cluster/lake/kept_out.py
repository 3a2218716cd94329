"""Rewards that are kept out of the outcomes: those of refused batches, until one is released."""

from collections.abc import Callable

import polars as pl

from cluster.lake.tables import ADMISSIONS, KEPT_OUT, Table

RELEASED = "released"
REWARD = ["query_id", "candidate_id", "scorer_id"]


def kept_out(scan: Callable[[Table], pl.LazyFrame]) -> pl.LazyFrame:
    """`query_id`, `candidate_id`, `scorer_id` of the rewards that nobody is to learn from.

    Args:
        scan: the rows of a table, at the version that is read.
    """
    released = scan(ADMISSIONS).filter(pl.col("event") == RELEASED).select("batch").unique()
    return scan(KEPT_OUT).join(released, on="batch", how="anti").select(REWARD).unique()

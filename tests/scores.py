"""A table of scores whose tasks are told apart by their words."""

import polars as pl

SPLITS = ("train", "train", "train", "validation", "test")


def scores(rows: int) -> pl.DataFrame:
    """`text`, `task`, `split`, and rewards of two candidates: one is better at sums, one at poems.

    Each fails at every seventh of what it is better at, so that nothing is learned without error.
    """
    numbers = pl.int_range(rows, eager=True).alias("number")
    sums = pl.col("number") % 2 == 0
    fails = pl.col("number") % 7 == 0
    return numbers.to_frame().select(
        text=pl.when(sums)
        .then(pl.format("how much is {} plus {}", "number", pl.col("number") * 7))
        .otherwise(pl.format("a poem on {} trees and {} birds", "number", pl.col("number") * 3)),
        task=pl.when(sums).then(pl.lit("sums")).otherwise(pl.lit("poems")),
        split=(pl.col("number") // 2 % 5).replace_strict(dict(enumerate(SPLITS))),
        small=(sums ^ fails).cast(pl.Float64),
        large=(~sums ^ fails).cast(pl.Float64),
    )

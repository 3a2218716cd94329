"""Queries that are there twice, and those that nearly repeat a held-out one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from cluster.outcome import FloatMatrix
from cluster.quality.alarm import Alarm, percent
from cluster.quality.collected import Collected
from cluster.routers.near_duplicates import near_duplicates

# A row in a hundred that was seen in training can lift a mean by a point.
SMALL = 0.01
# What is learned from or calibrated on, and what it must not repeat.
HELD_OUT = {
    "train": ("validation", "calibration", "test"),
    "validation": ("calibration", "test"),
    "calibration": ("test",),
}


@dataclass(frozen=True)
class Duplicates:
    """Repeated queries.

    Attributes:
        queries, texts: how many there are, and how many differ.
        repeated: queries whose text, exactly, another one has too.
        across: queries whose text, exactly, is in another split too.
        near: one row a split: `split`, `queries`, `near` (those that nearly repeat one of a split
            that is held out from it: word 3-grams with a Jaccard of 0.8 or more; exact ones too).
        differing: share of the cells of repeated texts whose rewards differ from one copy to
            another; None where nothing is repeated.
    """

    queries: int
    texts: int
    repeated: int
    across: int
    near: pl.DataFrame
    differing: float | None


def duplicates(found: Collected) -> Duplicates:
    """Exact and near repetitions of queries."""
    rows = found.queries.with_columns(
        copies=pl.len().over("text"), splits=pl.col("split").n_unique().over("text")
    )
    return Duplicates(
        queries=rows.height,
        texts=rows["text"].n_unique(),
        repeated=rows.filter(pl.col("copies") > 1).height,
        across=rows.filter(pl.col("splits") > 1).height,
        near=near_held_out(found.queries),
        differing=differing(found.queries["text"], reward=found.cells.reward),
    )


def near_held_out(queries: pl.DataFrame) -> pl.DataFrame:
    """See `Duplicates.near`."""
    counted = []
    for split, others in HELD_OUT.items():
        own = queries.filter(pl.col("split") == split)["text"]
        held_out = queries.filter(pl.col("split").is_in(others))["text"]
        if len(own) and len(held_out):
            near = int(near_duplicates(own, held_out=held_out).sum())
            counted.append({"split": split, "queries": len(own), "near": near})
    kinds = {"split": pl.String, "queries": pl.Int64, "near": pl.Int64}
    return pl.DataFrame(counted, schema=kinds)


def differing(texts: pl.Series, *, reward: FloatMatrix) -> float | None:
    """Share of (text, candidate) whose copies have different rewards, of those rewarded twice."""
    frame = pl.DataFrame({"text": texts}).with_row_index("row")
    copies = frame.filter(pl.len().over("text") > 1).sort("text", "row")
    if not copies.height:
        return None
    values = reward[copies["row"].to_numpy()]
    starts = np.flatnonzero(copies["text"].rle_id().diff().fill_null(1).to_numpy())
    low = np.minimum.reduceat(np.where(np.isnan(values), np.inf, values), starts)
    high = np.maximum.reduceat(np.where(np.isnan(values), -np.inf, values), starts)
    twice = np.add.reduceat((~np.isnan(values)).astype(np.int64), starts) > 1
    return float((low < high)[twice].mean()) if twice.any() else None


def alarms(found: Duplicates) -> Iterator[Alarm]:
    """Leaks, and labels that contradict each other."""
    for split, n, near in found.near.rows():
        if near > SMALL * n:
            yield Alarm(
                "duplicates",
                f"{near:,} of {n:,} {split} queries ({percent(near / n)}) nearly repeat one that "
                f"is held out ({', '.join(HELD_OUT[split])}).",
                "'train' and 'evaluate' leave such train and validation rows out; other tools do "
                "not. Where they are many, take repeated queries out of the files.",
            )
    if found.differing is not None and found.differing > 10 * SMALL:
        yield Alarm(
            "duplicates",
            f"The same query with the same candidate got different rewards in "
            f"{percent(found.differing)} of the cases where it is there twice.",
            "Rewards are that noisy: draw more samples a query (samples in the candidate file), "
            "or keep one copy of a query.",
        )

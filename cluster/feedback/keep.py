"""Putting routed queries into the lake: the text with the chat that leads to it, how likely it was
to be drawn, and who chose."""

import logging
from dataclasses import dataclass

import polars as pl

from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.query import query_id

LOG = logging.getLogger("signalbox.route")
ROUTED = "routed"
TRAIN = "train"


@dataclass(frozen=True)
class Kept:
    """What came back.

    Attributes:
        drawn: texts that were drawn.
        new: of these, those the lake did not have, under any dataset.
    """

    drawn: int
    new: int


def keep_feedback(drawn: pl.DataFrame, *, dataset: str, router: str, lake: Lake) -> Kept:
    """Append the texts that the lake does not have yet, all of split train; again adds nothing.

    Nothing of a row but its text, and the chat before it, is copied.

    Args:
        drawn: as `cluster.feedback.draw.together` gives them.
        dataset: the name they are kept under.
        router: the version that routed them.
        lake: the lake.
    """
    there = lake.scan(QUERIES).select("text").join(drawn.lazy().select("text"), on="text")
    fresh = drawn.join(there.unique().collect(), on="text", how="anti", maintain_order="left")
    new = append_new(_queries(fresh, dataset=dataset, router=router), lake=lake, table=QUERIES)
    LOG.info("%d routed queries were copied into dataset '%s'", new, dataset)
    return Kept(drawn=drawn.height, new=new)


def _queries(fresh: pl.DataFrame, *, dataset: str, router: str) -> pl.DataFrame:
    ids = [query_id(text, task="") for text in fresh["text"]]
    rows = fresh.with_columns(
        query_id=pl.Series(ids, dtype=pl.String),
        dataset=pl.lit(dataset),
        task=pl.lit(""),
        source=pl.format("{} by {} to {}", pl.lit(ROUTED), pl.lit(router), "candidate"),
        split=pl.lit(TRAIN),
    )
    return QUERIES.conform(rows).collect()

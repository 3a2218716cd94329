"""What all that is imported has in common: the ids of its queries and names, and their splits."""

import logging

import polars as pl

from cluster.importers.score_table import QUERY_KEY
from cluster.query import digest, imported_query_id, imported_split

LOG = logging.getLogger("signalbox.import")


def tell_known(queries: int, *, what: str, others: int) -> None:
    """Say what was there already, if anything was: values that have changed are not taken over."""
    if queries or others:
        LOG.info(
            "%d queries and %d %s were in the lake already and stay as they are; to bring in "
            "changed values, import under another --dataset",
            queries,
            others,
            what,
        )


def with_query_ids(rows: pl.DataFrame, *, queries: pl.DataFrame) -> pl.DataFrame:
    """The rows with the `query_id` of the query they belong to."""
    return rows.join(queries.select(*QUERY_KEY, "query_id"), on=QUERY_KEY, nulls_equal=True)


def hashed(names: pl.Series, *, prefix: list[str]) -> pl.Series:
    """Ids of imported names."""
    ids = {name: digest([*prefix, name]) for name in names.unique()}
    return names.replace_strict(ids, return_dtype=pl.String)


def identified(
    queries: pl.DataFrame, *, dataset: str, split: str, calibration: float, source: str
) -> pl.DataFrame:
    """One row a query: its key in the table, its identity, and the split it gets here.

    Args:
        queries: `split`, `task`, `text`, `occurrence`, `reference`.
        dataset: name they are kept under.
        split: that every row gets; empty to keep what they say.
        calibration: share of imported train that becomes calibration.
        source: where they come from.
    """
    stated = [split or said for said in queries["split"]]
    tasks, texts = queries["task"].fill_null(""), queries["text"]
    occurrences = _occurrences(queries, stated=stated)
    ids = [
        imported_query_id(text, dataset=dataset, split=said, task=task, occurrence=number)
        for text, said, task, number in zip(texts, stated, tasks, occurrences, strict=True)
    ]
    splits = [
        imported_split(text, split=said, calibration_share=calibration)
        for text, said in zip(texts, stated, strict=True)
    ]
    return queries.with_columns(
        query_id=pl.Series(ids),
        kept_split=pl.Series(splits),
        dataset=pl.lit(dataset),
        source=pl.lit(source),
    )


def _occurrences(queries: pl.DataFrame, *, stated: list[str]) -> pl.Series:
    """The running number of a repetition, counted anew when `--split` throws splits together."""
    under = queries.with_columns(pl.Series("stated", stated)).select(
        pl.int_range(pl.len()).over("stated", "task", "text").alias("occurrence")
    )
    return under["occurrence"]


def stored_queries(queries: pl.DataFrame) -> pl.DataFrame:
    """Identified queries as the rows of the lake's table."""
    return queries.select(
        "query_id",
        "dataset",
        pl.col("task").fill_null(""),
        "text",
        pl.lit(None, dtype=pl.String).alias("messages"),
        "reference",
        "source",
        pl.col("kept_split").alias("split"),
        pl.lit(1.0).alias("sampling_probability"),
    )

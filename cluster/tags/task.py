"""The task a query was filed under, as its tag."""

from typing import ClassVar

import polars as pl

from cluster.tags.tagger import Tagger


class TaskTagger(Tagger):
    """The query's task as its tag; no tag where the task is missing or blank."""

    name: ClassVar[str] = "task"

    def tag(self, queries: pl.DataFrame) -> pl.DataFrame:
        """One row for every query that has a task, in the queries' order."""
        filed = pl.col("task").cast(pl.String).str.strip_chars().str.len_chars() > 0
        return queries.filter(filed).select("query_id", pl.col("task").alias("tag"))

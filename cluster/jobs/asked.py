"""Who is asked what in a generate job: a part of the requests at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.query import has_reference

WHAT = ("query_id", "text", "messages")
WHO = "candidate_id"
EXPECTED = "predicted_usd"


@dataclass(frozen=True)
class Requests:
    """Queries to answer, in parts of which one is in memory at a time.

    Attributes:
        parts: rows of `query_id`, `text`, `messages`; a query is in one part alone. With
            `candidate_id` each row says who answers it, without everybody answers all. With
            `predicted_usd` each says what that is expected to cost.
    """

    parts: tuple[pl.LazyFrame, ...]

    @classmethod
    def at(cls, uri: str, *, lake: Lake) -> "Requests":
        """Those of a Parquet file, or of all that are in a folder, in the order of their names.

        Raises:
            InputError: nothing is there.
        """
        found = [name for name, _ in lake.storage.list(uri) if name.endswith(".parquet")]
        if not found:
            raise InputError(
                f"{uri}: no requests are there; run the command again with --overwrite"
            )
        options = lake.storage.polars_options()
        return cls(tuple(pl.scan_parquet(name, storage_options=options) for name in found))

    @classmethod
    def of_dataset(
        cls, dataset: str, *, lake: Lake, version: int, referenced: bool = False
    ) -> "Requests":
        """All queries of a dataset, or those that have a reference, for everybody."""
        queries = lake.scan(QUERIES, version=version).filter(pl.col("dataset") == dataset)
        if referenced:
            queries = queries.filter(has_reference())
        return cls((queries.select(WHAT).collect().lazy(),))

    @property
    def names_who(self) -> bool:
        """Whether each row says who answers it."""
        return WHO in self.parts[0].collect_schema()

    def of(self, candidate_id: str) -> Iterator[pl.DataFrame]:
        """A candidate's `query_id`, `text`, `messages`, part by part, where it has any."""
        for part in self._own(candidate_id):
            rows = part.select(WHAT).collect()
            if rows.height:
                yield rows

    def count(self, candidate_id: str) -> int:
        """Queries that a candidate is to answer."""
        ids = (part.select(pl.col("query_id").n_unique()) for part in self._own(candidate_id))
        return sum(int(count.collect().item()) for count in ids)

    def expected(self) -> dict[str, float] | None:
        """By candidate's id, USD its answers are expected to cost; None where that is not said."""
        if EXPECTED not in self.parts[0].collect_schema():
            return None
        cost = pl.col(EXPECTED)
        sums = [
            part.unique(["query_id", WHO])
            .group_by(WHO)
            .agg(cost.sum(), unknown=cost.null_count())
            .collect()
            for part in self.parts
        ]
        rows = pl.concat(sums).group_by(WHO).sum()
        if rows["unknown"].sum():
            return None
        return dict(rows.select(WHO, EXPECTED).iter_rows())

    def whole(self) -> pl.DataFrame:
        """All of them at once, for requests that fit."""
        return pl.concat([part.collect() for part in self.parts])

    def _own(self, candidate_id: str) -> Iterator[pl.LazyFrame]:
        mine = pl.col(WHO) == candidate_id if self.names_who else pl.lit(True)
        return (part.filter(mine) for part in self.parts)

"""The tags of queries as a view reads them: one tagger's, and of a vocabulary one version's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.tables import TAGGERS, TAGS, Table
from cluster.lake.vocabularies import sequence_of

TASK_TAGGER = "task"


@dataclass(frozen=True)
class QueryTags:
    """Tags in a lake.

    Attributes:
        lake: the lake.
        versions: table name → Delta version to read.
    """

    lake: Lake
    versions: Mapping[str, int] = field(default_factory=dict)

    def taggers(self, queries: pl.DataFrame) -> pl.DataFrame:
        """Taggers that have tagged the queries, `tagger_id`, `n`, `name`, `sequence`: of a name
        the newest vocabulary first, then the one with most tags."""
        return (
            self._tags(queries)
            .group_by("tagger_id")
            .agg(pl.len().alias("n"))
            .join(self._scan(TAGGERS), on="tagger_id")
            .with_columns(sequence=sequence_of(pl.col("spec")))
            .sort("sequence", "n", "tagger_id", descending=[True, True, False])
            .collect()
        )

    def tagger_id(self, tagger: str, *, queries: pl.DataFrame) -> str:
        """Of a tagger's name or id; of none the only one beside `task`, or `task`.

        Raises:
            InputError: it has not tagged these queries; the text lists who has.
        """
        used = self.taggers(queries)
        names = sorted(set(used["name"]))
        wanted = tagger or _only(names)
        found = used.filter((pl.col("name") == wanted) | (pl.col("tagger_id") == wanted))
        if found.height:
            return str(found["tagger_id"][0])
        which = f"no tags of tagger '{tagger}'" if tagger else "no tagger was named for tags"
        raise InputError(
            f"{which} on this dataset in {self.lake.storage.uri}; "
            f"taggers that have tagged it: {', '.join(names) or 'none'}; name one with --tagger"
        )

    def tagged(self, queries: pl.DataFrame, *, tagger_id: str) -> pl.DataFrame:
        """The queries with their `tags`, sorted; no tag is an empty list."""
        tags = self._tags(queries).filter(pl.col("tagger_id") == tagger_id)
        lists = tags.group_by("query_id").agg(tags=pl.col("tag").sort()).collect()
        return queries.join(lists, on="query_id", how="left", maintain_order="left").with_columns(
            pl.col("tags").fill_null([])
        )

    def _tags(self, queries: pl.DataFrame) -> pl.LazyFrame:
        own = queries.lazy().select("query_id")
        return self._scan(TAGS).join(own, on="query_id", how="semi")

    def _scan(self, table: Table) -> pl.LazyFrame:
        return self.lake.scan(table, version=self.versions.get(table.name))


def _only(names: Sequence[str]) -> str:
    """The only tagger that says more than the queries' tasks, or the only one; empty if neither."""
    others = [name for name in names if name != TASK_TAGGER]
    return (others or [*names, ""])[0] if len(others) <= 1 else ""

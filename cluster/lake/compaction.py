"""Compaction: the many small files of a night become few large ones; no row changes.

Safe beside writers. A commit that only appends never conflicts with it. One that deletes or
replaces rows (errors that are asked again) does: the later of the two is refused by Delta, a
writer loads the table again and goes on, and a compaction is tried again a few times and then left
to the next night. Readers of an older version find its files until a vacuum takes them.
"""

import logging
import time
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError

from cluster.failpoint import failpoint
from cluster.lake.lake import Lake
from cluster.lake.tables import Table

LOG = logging.getLogger("signalbox.upkeep")

# Planning over 10 million answers reads few bytes of a file and opens all of them: 10,000 files of
# 1,024 rows cost far more than 100 of 128 MiB, and larger ones would not fit beside an engine.
TARGET_BYTES = 128 * 2**20
# Fewer files than this cost a reader nothing, and every compaction is a new version of the table.
MIN_FILES = 8
MAX_TURNS = 5
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Compaction:
    """What became of a table's small files.

    Attributes:
        files: small files that were merged, or would be.
        into: files they became; 0 when nothing was done.
        contended: partitions that were left alone because writers kept coming between.
    """

    files: int = 0
    into: int = 0
    contended: int = 0


def compact(lake: Lake, *, table: Table, dry_run: bool = False) -> Compaction:
    """Merge the small files of every partition that has at least `MIN_FILES` of them.

    Args:
        lake: the lake.
        table: one that is there.
        dry_run: only count the files.
    """
    found = small_files(lake.handle(table), table=table)
    done = Compaction(files=int(found["files"].sum()))
    if dry_run:
        return done
    files = into = contended = 0
    for partition, _ in found.iter_rows():
        merged = _compact_partition(lake, table=table, partition=partition)
        if merged is None:
            contended += 1
            continue
        files, into = files + merged[0], into + merged[1]
    return Compaction(files=files, into=into, contended=contended)


def small_files(handle: DeltaTable, *, table: Table) -> pl.DataFrame:
    """`partition` (null in a table without), `files`: where there are enough small ones."""
    column = f"partition.{table.partition}"
    actions = pl.DataFrame(handle.get_add_actions(flatten=True))
    partition = pl.col(column) if table.partition and actions.height else pl.lit(None)
    small = actions.filter(pl.col("size_bytes") < TARGET_BYTES // 2)
    return (
        small.with_columns(partition=partition.cast(pl.String))
        .group_by("partition")
        .agg(files=pl.len())
        .filter(pl.col("files") >= MIN_FILES)
        .sort("partition")
    )


def _compact_partition(
    lake: Lake, *, table: Table, partition: str | None
) -> tuple[int, int] | None:
    """(files merged, files they became), or None where writers kept coming between."""
    filters = [(str(table.partition), "=", partition)] if table.partition else None
    for turn in range(MAX_TURNS):
        handle = lake.handle(table)
        failpoint("compact.before")
        try:
            told = handle.optimize.compact(
                partition_filters=filters,
                target_size=TARGET_BYTES,
                max_concurrent_tasks=1,
                writer_properties=WriterProperties(compression="ZSTD"),
            )
        except CommitFailedError as error:
            LOG.info("%s %s: another writer was first (%s)", table.name, partition or "", error)
            time.sleep(PAUSE_SECONDS * turn)
            continue
        failpoint("compact.after")
        return int(told["numFilesRemoved"]), int(told["numFilesAdded"])
    return None

"""Leftovers: what a crash has left below the lake's root, and which of it nobody will ever want.

.<name>.<12 hex>     a local write that was never finished
rows-*, errors-*, part-*   rows of a driver that died between the write and the commit: a
                     later run writes and asks anew
shard-*              answers of a dead worker. A later run adopts them, so they stay, however
                     old: somebody paid for them. Only one whose keys are all committed by
                     others can never be adopted.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl

from cluster.lake.lake import MARKER, Lake, active_files, removed_files, scan_handle
from cluster.lake.shard import ADOPTABLE, read_keys, read_shard
from cluster.lake.tables import TABLES, Table
from cluster.storage import Entry

SECONDS_A_DAY = 86_400
# A write takes seconds, a minute on a slow disk.
UNFINISHED_DAYS = 1
PARQUET = ".parquet"
# All that is ever made below the root beside the tables. A lake may lie in a folder with other
# things, and no other folder is looked into.
FOLDERS = (
    "calibrations",
    "checkpoints",
    "clock",
    "leases",
    "nights",
    "outputs",
    "reports",
    "runs",
    "snapshots",
    "waiting-routed",
)


def unfinished_writes(lake: Lake, *, now: float) -> list[Entry]:
    """Local files that a write began more than a day ago and never gave their name.

    Only with the very names that writes make, and only in folders of this project.

    Args:
        lake: the lake; on S3 there are none, an object appears whole.
        now: seconds since 1970.
    """
    if lake.storage.is_s3:
        return []
    oldest = now - UNFINISHED_DAYS * SECONDS_A_DAY
    found = [*_of_marker(lake)]
    for folder in (*TABLES, *FOLDERS):
        found += lake.storage.entries(lake.storage.join(folder))
    return [entry for entry in found if entry.is_unfinished and entry.modified < oldest]


def _of_marker(lake: Lake) -> Iterator[Entry]:
    """What was begun of the one file that lies in the root itself."""
    for path in Path(lake.storage.uri).glob(f".{MARKER}.*"):
        told = path.stat()
        yield Entry(uri=str(path), size=told.st_size, modified=told.st_mtime)


def unnamed_files(
    lake: Lake, *, table: Table, keep_days: int, pinned: Collection[str], now: float
) -> list[Entry]:
    """Data files older than the retention that the log does not name and no run will adopt.

    Args:
        lake: the lake.
        table: one that is there.
        keep_days: the retention.
        pinned: paths that pinned versions name.
        now: seconds since 1970.
    """
    root = f"{lake.table_uri(table)}/"
    oldest = now - keep_days * SECONDS_A_DAY
    entries = lake.storage.entries(root.rstrip("/"))
    # Loaded after the listing, so that whatever was committed meanwhile is known to it.
    handle = lake.handle(table)
    named = {*active_files(handle)["path"], *removed_files(handle), *pinned}
    old = [
        entry
        for entry in entries
        if entry.name.endswith(PARQUET)
        and not entry.is_unfinished
        and entry.modified < oldest
        and not entry.uri.removeprefix(root).startswith("_")
        and entry.uri.removeprefix(root) not in named
    ]
    staged = [entry for entry in old if entry.name.startswith(ADOPTABLE)]
    useless = set(_never_adopted(staged, lake=lake, table=table))
    return [entry for entry in old if entry not in staged or entry in useless]


def _never_adopted(staged: Collection[Entry], *, lake: Lake, table: Table) -> Iterator[Entry]:
    """Staged files all of whose keys are committed."""
    if not staged:
        return
    committed = scan_handle(lake.handle(table), table=table)
    for entry in staged:
        shard = read_shard(entry.uri, lake=lake, table=table)
        keys = read_keys([shard], lake=lake, table=table)[0]
        ours = committed
        if table.partition:
            ours = ours.filter(pl.col(table.partition) == shard.partition)
        there = keys.lazy().join(ours.select(table.key), on=list(table.key), how="semi")
        if there.select(pl.len()).collect(engine="streaming").item() == keys.height:
            yield entry

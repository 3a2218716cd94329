"""Leftovers: what a crash has left below the lake's root, and which of it nobody will ever want.

.<name>.<12 hex>     a local write that was never finished
rows-*, errors-*, part-*   rows of a driver that died between the write and the commit: a
                     later run writes and asks anew
shard-*              answers of a dead worker. A later run adopts them, so they stay, however
                     old: somebody paid for them. Only one whose keys are all committed by
                     others can never be adopted. One that is damaged stays too: what is in it may
                     be mended by hand.
"""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cluster.errors import LakeError
from cluster.lake.commit import committed_keys
from cluster.lake.lake import MARKER, Lake, active_files, removed_files
from cluster.lake.shard import ADOPTABLE, read_keys, read_shard
from cluster.lake.tables import TABLES, Table
from cluster.storage import Entry

LOG = logging.getLogger("signalbox.upkeep")
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


@dataclass(frozen=True)
class Unnamed:
    """Old files in a table's folder that its log does not name.

    Attributes:
        useless: nobody will ever want them.
        damaged: staged answers that cannot be read, and stay.
        pinned: an old version consists of them, which somebody reads still.
    """

    useless: tuple[Entry, ...]
    damaged: tuple[Entry, ...]
    pinned: tuple[Entry, ...]


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
) -> Unnamed:
    """Data files older than the retention that the log does not name: those that no run will adopt,
    and those that none can.

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
    named = {*active_files(handle)["path"], *removed_files(handle)}
    every = [
        entry
        for entry in entries
        if entry.name.endswith(PARQUET)
        and not entry.is_unfinished
        and entry.modified < oldest
        and not entry.uri.removeprefix(root).startswith("_")
        and entry.uri.removeprefix(root) not in named
    ]
    kept = [entry for entry in every if entry.uri.removeprefix(root) in pinned]
    old = [entry for entry in every if entry.uri.removeprefix(root) not in pinned]
    staged = [entry for entry in old if entry.name.startswith(ADOPTABLE)]
    useless, damaged = _sorted_out(staged, lake=lake, table=table)
    gone = (entry for entry in old if entry not in staged or entry in useless)
    return Unnamed(useless=tuple(gone), damaged=tuple(damaged), pinned=tuple(kept))


def _sorted_out(
    staged: Collection[Entry], *, lake: Lake, table: Table
) -> tuple[set[Entry], list[Entry]]:
    """Of staged files, those all of whose keys are committed, and those that cannot be read."""
    keys: dict[Entry, pl.DataFrame] = {}
    damaged = []
    for entry in staged:
        found = _keys(entry, lake=lake, table=table)
        if found is None:
            damaged.append(entry)
        else:
            keys[entry] = found
    if not keys:
        return set(), damaged
    # One look into the table for all of them: it may have thousands of files.
    every = pl.concat(keys.values()).unique()
    committed = committed_keys(every, handle=lake.handle(table), table=table)
    useless = {
        entry
        for entry, own in keys.items()
        if own.join(committed, on=list(table.key), how="anti").is_empty()
    }
    return useless, damaged


def _keys(entry: Entry, *, lake: Lake, table: Table) -> pl.DataFrame | None:
    """The keys in a staged file; None where it cannot be read."""
    try:
        shard = read_shard(entry.uri, lake=lake, table=table)
        return read_keys([shard], lake=lake, table=table)[0]
    # A sound footer may stand before damaged pages.
    except (LakeError, OSError, pl.exceptions.PolarsError) as error:
        LOG.warning("%s: is damaged and stays (%s)", entry.uri, error)
        return None

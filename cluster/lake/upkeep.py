"""Upkeep of the lake's tables: compaction, vacuum, and what crashes have left beside the logs.

Everything here may run while others read and write (see each part for why), and running it again
does what is left to do. Two upkeeps at once wait for each other.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.failpoint import failpoint
from cluster.lake.compaction import compact
from cluster.lake.lake import Lake, active_files
from cluster.lake.leftovers import unfinished_writes, unnamed_files
from cluster.lake.old_versions import pinned_files
from cluster.lake.tables import TABLES, Table
from cluster.lake.vacuum import vacuum
from cluster.storage import Entry

LOG = logging.getLogger("signalbox.upkeep")

# Below a week a vacuum could take files from under a reader that opened the table before it.
LEAST_DAYS = 7
# The log of a table remembers what was taken out of it for 60 days, and only that can be vacuumed.
MOST_DAYS = 45


@dataclass(frozen=True)
class TableUpkeep:
    """What was done to a table, or with a dry run would be.

    Attributes:
        table: its name.
        files: files of the newest version, before.
        compacted, into: small files that were merged, and what they became.
        contended: partitions that writers kept busy, left to the next time.
        vacuumed: files deleted that had been taken out of the table.
        leftovers: files deleted that no version ever named.
        damaged: addresses of staged files that cannot be read; they stay.
        pinned_by: unfinished runs and later nights that read an older version, for which files
            stay that would be deleted otherwise.
    """

    table: str
    files: int
    compacted: int
    into: int
    contended: int
    vacuumed: int
    leftovers: int
    damaged: tuple[str, ...]
    pinned_by: tuple[str, ...]


def keep_table(
    lake: Lake,
    *,
    table: Table,
    keep_days: int,
    pinned: Mapping[int, str],
    now: float,
    dry_run: bool,
) -> TableUpkeep:
    """Compact a table, vacuum it and clear what crashes left in its folder.

    Args:
        lake: the lake.
        table: one that is there.
        keep_days: how long what is no longer part of the table stays.
        pinned: version → unfinished run or night that reads it; its files stay, however old.
        now: seconds since 1970, by the store's clock.
        dry_run: only count.
    """
    assert LEAST_DAYS <= keep_days <= MOST_DAYS, keep_days
    files = active_files(lake.handle(table)).height
    merged = compact(lake, table=table, dry_run=dry_run)
    named = pinned_files(lake, table=table, pinned=pinned)
    old = vacuum(lake, table=table, keep_days=keep_days, now=now, dry_run=True) if named else []
    gone = vacuum(lake, table=table, keep_days=keep_days, now=now, pinned=pinned, dry_run=dry_run)
    left = unnamed_files(lake, table=table, keep_days=keep_days, pinned=named, now=now)
    _delete(left.useless, lake=lake, dry_run=dry_run)
    held = {entry.uri for entry in (*old, *left.pinned)} - {entry.uri for entry in gone}
    paths = (uri.removeprefix(f"{lake.table_uri(table)}/") for uri in held)
    readers = {reader for path in paths for reader in named.get(path, ())}
    return TableUpkeep(
        table=table.name,
        files=files,
        compacted=merged.files,
        into=merged.into,
        contended=merged.contended,
        vacuumed=len(gone),
        leftovers=len(left.useless),
        damaged=tuple(entry.uri for entry in left.damaged),
        pinned_by=tuple(sorted(readers)),
    )


def clear_unfinished(lake: Lake, *, now: float, dry_run: bool) -> list[str]:
    """Delete the local files that a write began and a crash left; their addresses."""
    found = unfinished_writes(lake, now=now)
    _delete(found, lake=lake, dry_run=dry_run)
    return [entry.uri for entry in found]


def _delete(entries: Sequence[Entry], *, lake: Lake, dry_run: bool) -> None:
    for entry in entries if not dry_run else ():
        LOG.info("deleting %s", entry.uri)
        failpoint("leftover.before_delete")
        lake.storage.delete(entry.uri)


def tables_there(lake: Lake) -> Iterator[Table]:
    """The tables of the lake that exist."""
    for table in TABLES.values():
        if lake.storage.list(f"{lake.table_uri(table)}/_delta_log"):
            yield table

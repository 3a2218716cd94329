"""Vacuum: files that no version within the retention needs are deleted.

Lite: of what the log says was taken out of the table, never a file it does not name, for that may
be a shard that is staged and not committed yet. What a crash has left beside the log is another
matter (`cluster.lake.leftovers`).
"""

import logging
from collections.abc import Collection

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cluster.errors import LakeError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake
from cluster.lake.tables import Table
from cluster.storage import Entry

LOG = logging.getLogger("signalbox.upkeep")
HOURS_A_DAY = 24


def vacuum(
    lake: Lake,
    *,
    table: Table,
    keep_days: int,
    pinned: Collection[int] = (),
    dry_run: bool = False,
) -> list[Entry]:
    """Delete files that were taken out of the table longer ago than the retention; return them.

    Delta only says which: its own vacuum deletes what is gone already again every night, and
    makes two versions of the table of it.

    Args:
        lake: the lake.
        table: one that is there.
        keep_days: the retention. Less than the table's own 60 days, after which the log forgets
            the files, and nobody would delete them.
        pinned: versions whose files stay, however old.
        dry_run: only say which.

    Raises:
        LakeError: a pinned version cannot be opened.
    """
    handle = lake.handle(table)
    kept = [version for version in pinned if _at(lake, table=table, version=version) is not None]
    paths = handle.vacuum(
        retention_hours=keep_days * HOURS_A_DAY,
        enforce_retention_duration=False,
        dry_run=True,
        keep_versions=sorted(kept),
    )
    uris = {f"{lake.table_uri(table)}/{path}" for path in paths}
    gone = [entry for entry in lake.storage.entries(lake.table_uri(table)) if entry.uri in uris]
    for entry in gone if not dry_run else ():
        failpoint("vacuum.before_delete")
        lake.storage.delete(entry.uri)
    return gone


def pinned_files(lake: Lake, *, table: Table, pinned: Collection[int]) -> set[str]:
    """Paths of all files that pinned versions of a table consist of."""
    found: set[str] = set()
    for version in pinned:
        handle = _at(lake, table=table, version=version)
        if handle is not None:
            found.update(handle.get_add_actions(flatten=True).column("path").to_pylist())
    return found


def _at(lake: Lake, *, table: Table, version: int) -> DeltaTable | None:
    """A handle on an old version; None where the log has forgotten it, so that no run reads it.

    Raises:
        LakeError: the log has it, and it cannot be opened: nothing is deleted then.
    """
    uri, options = lake.table_uri(table), lake.storage.delta_options()
    try:
        return DeltaTable(uri, version=version, storage_options=options)
    except DeltaError as error:
        if lake.storage.read_bytes_or_none(f"{uri}/_delta_log/{version:020d}.json") is None:
            LOG.info("%s: version %d is in the log no longer", table.name, version)
            return None
        raise LakeError(
            f"{uri}: version {version}, which an unfinished run reads, cannot be opened ({error}), "
            "so nothing is deleted; try again, or finish that run or delete its folder"
        ) from error

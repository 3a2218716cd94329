"""Vacuum: files that no version within the retention needs are deleted.

Lite: of what the log says was taken out of the table, never a file it does not name, for that may
be a shard that is staged and not committed yet. What a crash has left beside the log is another
matter (`cluster.lake.leftovers`).
"""

import math
import time
from collections.abc import Collection

from cluster.failpoint import failpoint
from cluster.lake.lake import Lake
from cluster.lake.old_versions import opened_at
from cluster.lake.tables import Table
from cluster.storage import Entry

SECONDS_AN_HOUR, HOURS_A_DAY = 3600, 24


def vacuum(
    lake: Lake,
    *,
    table: Table,
    keep_days: int,
    now: float,
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
        now: seconds since 1970, by the store's clock.
        pinned: versions whose files stay, however old.
        dry_run: only say which.

    Raises:
        LakeError: a pinned version cannot be opened.
    """
    handle = lake.handle(table)
    kept = [one for one in pinned if opened_at(lake, table=table, version=one) is not None]
    # Delta counts from this machine's clock as it is at this moment.
    ahead = math.ceil((time.time() - now) / SECONDS_AN_HOUR)
    paths = handle.vacuum(
        retention_hours=max(0, keep_days * HOURS_A_DAY + ahead),
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

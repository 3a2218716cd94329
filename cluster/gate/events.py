"""Events of the gate in the lake: appended on the very handle they were decided on."""

import getpass
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
from deltalake import DeltaTable

from cluster.failpoint import failpoint
from cluster.lake.commit import commit_on_handle
from cluster.lake.lake import Lake, scan_handle
from cluster.lake.shard import Shard, write_shard
from cluster.lake.tables import Table

Event = Mapping[str, Any]


def append_event(
    wanted: Callable[[pl.DataFrame], Event | None], *, lake: Lake, table: Table, scope: str
) -> None:
    """Append the event that `wanted` makes of all events so far, in their order; None for none.

    When another event of the scope comes between, `wanted` is asked again.

    Raises:
        LakeError: others keep coming between.
    """

    def staged(handle: DeltaTable) -> list[Shard]:
        events = scan_handle(handle, table=table).collect().sort("sequence")
        event = wanted(events)
        if event is None:
            return []
        row = {
            "event_id": secrets.token_hex(16),
            "sequence": max([0, *events["sequence"]]) + 1,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": getpass.getuser(),
            **event,
        }
        name = f"rows-{secrets.token_hex(16)}.parquet"
        return [write_shard(pl.DataFrame([row]), lake=lake, table=table, name=name)]

    failpoint(f"{table.name}.before")
    commit_on_handle(staged, lake=lake, table=table, scope=scope)
    failpoint(f"{table.name}.after")

"""A lake whose tables remember that what was taken out of them was taken out days ago."""

import json

from cluster.lake.lake import Lake
from cluster.lake.tables import Table

MILLISECONDS_A_DAY = 86_400_000


def age_removals(lake: Lake, *, table: Table, days: int = 8) -> None:
    """The log says from now on that what was taken out was taken out so many days before."""
    for uri, _ in lake.storage.list(f"{lake.table_uri(table)}/_delta_log"):
        if uri.endswith(".json"):
            lines = lake.storage.read_bytes(uri).decode().splitlines()
            aged = (_aged(line, days=days) for line in lines)
            lake.storage.write(uri, "\n".join(aged).encode())


def _aged(line: str, *, days: int) -> str:
    action = json.loads(line)
    if "remove" in action:
        action["remove"]["deletionTimestamp"] -= days * MILLISECONDS_A_DAY
    return json.dumps(action)

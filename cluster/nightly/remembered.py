"""Versions of the rewards that nights remember: a later night asks what has come since.

They stay readable for as long as a night may ask. Where one has gone all the same (its log keeps a
limited time), `cluster.jobs.admit` looks at all labels again.
"""

import json

import polars as pl

from cluster.gate.admitted import NIGHT
from cluster.lake.lake import Lake
from cluster.lake.tables import ADMISSIONS
from cluster.nightly.night import BEGUN, MANIFEST, NIGHTS

# The newest one may be looked at again, and then asks for the one before.
LAST = 2


def remembered_rewards(lake: Lake) -> dict[int, str]:
    """Version → who may ask for it: of every dataset and scorer, and of every series of nights,
    the last two."""
    return _of_series(lake) | _of_admissions(lake)


def _of_admissions(lake: Lake) -> dict[int, str]:
    """What has been looked at."""
    if not lake.storage.list(f"{lake.table_uri(ADMISSIONS)}/_delta_log"):
        return {}
    nights = lake.read(ADMISSIONS).filter(event=NIGHT).sort("sequence")
    last = nights.group_by("dataset", "scorer_id", maintain_order=True).tail(LAST)
    rows = last.select("found", "batch").iter_rows()
    return {json.loads(found)["rewards"]: f"night {night}" for found, night in rows}


def _of_series(lake: Lake) -> dict[int, str]:
    """What nights began with, or were trained on."""
    root = lake.storage.join(NIGHTS)
    found: dict[int, str] = {}
    # After sorting the newer nights of a series come last, each with `begun` before `manifest`.
    files = pl.DataFrame(
        [
            (*uri.removeprefix(f"{root}/").split("/"), uri)
            for uri, _ in lake.storage.list(root)
            if uri.rsplit("/", 1)[-1] in (BEGUN, MANIFEST) and _is_of_night(uri, root=root)
        ],
        schema=["series", "number", "name", "uri"],
        orient="row",
    )
    last = files.sort("series", "number", "name").group_by("series", maintain_order=True)
    for series, number, _, uri in last.tail(2 * LAST).iter_rows():
        told = json.loads(lake.storage.read_bytes(uri))
        version = told.get("rewards_version", told.get("rewards"))
        if type(version) is int:
            found[version] = f"night {series}-{int(number)}"
    return found


def _is_of_night(uri: str, *, root: str) -> bool:
    parts = uri.removeprefix(f"{root}/").split("/")
    return len(parts) == 3 and parts[1].isdigit()

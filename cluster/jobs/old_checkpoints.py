"""Checkpoints that nobody will route with any more: of trainings that died, and old challengers."""

import re
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from cluster import registry
from cluster.jobs.kept_outcomes import outcomes_uri
from cluster.jobs.run_folders import Pins
from cluster.lake.lake import Lake
from cluster.lake.leftovers import SECONDS_A_DAY

CHECKPOINTS = "checkpoints"
FOLDER_NAME = re.compile(r"[A-Za-z0-9_-]+")
# A version is the hash of its content. What else lies there, nobody registered, is somebody's own.
VERSION = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class OldCheckpoints:
    """Versions whose checkpoints can go: `unregistered` ones, and registered `challengers`."""

    unregistered: tuple[str, ...]
    challengers: tuple[str, ...]


def old_checkpoints(
    lake: Lake, *, pinned: Pins, keep_days: int, router_days: int, now: float
) -> OldCheckpoints:
    """What can go. Never a router that is or was champion, or that an unfinished run names.

    Args:
        lake: the lake.
        pinned: by unfinished runs.
        keep_days: how long a checkpoint may wait to be registered.
        router_days: how long a challenger stays; 0 for ever.
        now: seconds since 1970.
    """
    registered = registry.versions(lake)
    known = set(registered["version"])
    oldest = now - keep_days * SECONDS_A_DAY
    there = _touched(lake)
    waiting = [
        name for name, touched in there.items() if VERSION.fullmatch(name) and touched < oldest
    ]
    challengers = _challengers(
        lake, registered=registered, before=now - router_days * SECONDS_A_DAY
    )
    return OldCheckpoints(
        tuple(name for name in waiting if name not in known and not pinned.name(name)),
        # Only what lies there: a name out of the table is believed no further.
        tuple(
            name for name in challengers if router_days and name in there and not pinned.name(name)
        ),
    )


def delete_checkpoint(version: str, *, lake: Lake) -> None:
    """Delete a checkpoint's folder and what it was fitted on."""
    assert FOLDER_NAME.fullmatch(version), f"no name of a folder: {version!r}"
    uri = lake.storage.join(CHECKPOINTS, version)
    lake.storage.delete_below(uri)
    lake.storage.delete(outcomes_uri(uri))


def _touched(lake: Lake) -> dict[str, float]:
    """Version of every checkpoint there is → when its newest file was written."""
    prefix = lake.storage.join(CHECKPOINTS) + "/"
    found: dict[str, float] = {}
    for entry in lake.storage.entries(prefix.rstrip("/")):
        version = entry.uri.removeprefix(prefix).split("/")[0].split(".")[0]
        found[version] = max(entry.modified, found.get(version, 0.0))
    return found


def _challengers(lake: Lake, *, registered: pl.DataFrame, before: float) -> list[str]:
    """Versions registered before then that never were champion."""
    champions = registry.ever_champion(lake)
    return [
        version
        for version, at in registered.select("version", "at").iter_rows()
        if version not in champions and datetime.fromisoformat(at).timestamp() < before
    ]

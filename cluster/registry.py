"""The registry: which routers there are and which one is champion, as events in the lake.

Events are never changed. A `promote` puts a version on top of the champions, a `rollback` takes
the top one off again, so the champion is what the events, read in order, leave on top.
"""

import getpass
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl
from deltalake import DeltaTable

from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.lake.commit import commit_on_handle
from cluster.lake.lake import Lake, scan_handle
from cluster.lake.shard import Shard, write_shard
from cluster.lake.tables import REGISTRY

CHAMPION_SCOPE = "alias/champion"
REGISTER_SCOPE = "registry/register"
CHAMPION = "champion"

Kind = Literal["register", "promote", "rollback", "retire"]


def register(
    lake: Lake,
    *,
    version: str,
    checkpoint: str,
    method: str,
    dataset: str,
    metrics: dict[str, Any],
    why: str,
) -> None:
    """Note a version as challenger; registering it again changes nothing.

    The checkpoint lies below the lake's root and is noted relative to it, so a lake may move.
    """
    root = lake.storage.uri + "/"
    assert checkpoint.startswith(root), f"{checkpoint} is outside the lake {root}"
    event = _event(
        "register",
        version=version,
        checkpoint=checkpoint.removeprefix(root),
        method=method,
        dataset=dataset,
        metrics=json.dumps(metrics),
        why=why,
    )

    def staged(handle: DeltaTable) -> list[Shard]:
        if version in _registered(scan_handle(handle, table=REGISTRY).collect()):
            return []
        name = f"rows-{secrets.token_hex(16)}.parquet"
        return [write_shard(event, lake=lake, table=REGISTRY, name=name)]

    # Two that train the same at once find the same version.
    commit_on_handle(staged, lake=lake, table=REGISTRY, scope=REGISTER_SCOPE)


def promote(lake: Lake, *, version: str, decide: Callable[[str | None], Decision]) -> Decision:
    """Make a registered version champion if `decide` says so, looking at the champion there is.

    When another promotion comes between the look and the event, the event is refused by the lake
    and `decide` is asked again, with the new champion.

    Raises:
        InputError: no such version is registered.
    """
    resolve(lake, version=version)
    decisions: list[Decision] = []

    def wanted(events: pl.DataFrame) -> pl.DataFrame | None:
        if version not in _registered(events):
            raise InputError(f"router version '{version}' was retired meanwhile; train it again")
        current = _champion(events)
        if current == version:
            decisions.append(Decision(promote=False, why=f"{version} is champion already"))
            return None
        decisions.append(decide(current))
        if not decisions[-1].promote:
            return None
        return _event("promote", version=version, parent=current or "", why=decisions[-1].why)

    _move_champion(lake, wanted=wanted)
    return decisions[-1]


def rollback(lake: Lake, *, why: str) -> str:
    """Take the champion off and bring back the one before; returns that one.

    Raises:
        InputError: there is no champion, or none before it.
    """
    back: list[str] = []

    def wanted(events: pl.DataFrame) -> pl.DataFrame:
        champions = _champions(events)
        if len(champions) < 2:
            there = f"only {champions[0]} was ever champion" if champions else "there is none"
            raise InputError(f"no champion to roll back to: {there}")
        back.append(champions[-2])
        return _event("rollback", version=champions[-2], parent=champions[-1], why=why)

    _move_champion(lake, wanted=wanted)
    return back[-1]


def retire(lake: Lake, *, version: str, why: str) -> bool:
    """Take a version off the list, before its checkpoint is deleted; False for a champion.

    One that is or was champion stays, for a rollback may bring it back. Training the same router
    again registers it again.
    """
    done: list[bool] = []

    def wanted(events: pl.DataFrame) -> pl.DataFrame | None:
        done.append(version in _registered(events) and version not in _ever_champion(events))
        return _event("retire", version=version, why=why) if done[-1] else None

    _move_champion(lake, wanted=wanted)
    return done[-1]


def ever_champion(lake: Lake) -> set[str]:
    """Versions that are or were champion."""
    return _ever_champion(lake.read(REGISTRY))


def champion(lake: Lake) -> str | None:
    """The champion's version, or None."""
    return _champion(lake.read(REGISTRY))


def taken_off(lake: Lake, *, version: str) -> str | None:
    """Why a version was rolled back, where nobody has promoted it since; else None."""
    events = lake.read(REGISTRY).sort("sequence")
    own = (pl.col("event") == "promote") & (pl.col("version") == version)
    back = (pl.col("event") == "rollback") & (pl.col("parent") == version)
    last = events.filter(own | back).tail(1).filter(event="rollback")
    return str(last["why"][0]) if last.height else None


def champions(lake: Lake) -> list[str]:
    """The champions on top of each other, the current one last."""
    return _champions(lake.read(REGISTRY))


def versions(lake: Lake) -> pl.DataFrame:
    """One row a version, newest first: version, alias, method, dataset, at, metrics, checkpoint."""
    events = lake.read(REGISTRY)
    current, registered = _champion(events), _registered(events)
    alias = (
        pl.when(pl.col("version") == pl.lit(current, dtype=pl.String))
        .then(pl.lit(CHAMPION))
        .otherwise(pl.lit("challenger"))
        .alias("alias")
    )
    checkpoint = pl.format("{}/{}", pl.lit(lake.storage.uri), "checkpoint").alias("checkpoint")
    columns = ("version", alias, "method", "dataset", "at", "why", "metrics", checkpoint)
    return (
        events.filter((pl.col("event") == "register") & pl.col("version").is_in(registered))
        .sort("at")
        .unique("version", keep="last")
        .sort("at", descending=True)
        .select(columns)
    )


def history(lake: Lake, *, version: str) -> pl.DataFrame:
    """Every event of a version, oldest first."""
    return lake.read(REGISTRY).filter(pl.col("version") == version).sort("at")


def resolve(lake: Lake, *, version: str) -> dict[str, Any]:
    """The registered row of a version, of its unambiguous beginning, or of `champion`.

    Raises:
        InputError: nothing registered fits, or more than one does.
    """
    known = versions(lake)
    if version == CHAMPION:
        current = champion(lake)
        if current is None:
            raise InputError(
                f"{lake.storage.uri}: there is no champion; promote a version with "
                "'signalbox registry promote --router VERSION', or name one with --router"
            )
        version = current
    found = known.filter(pl.col("version").str.starts_with(version))
    if found.height == 1:
        return found.row(0, named=True)
    if found.height == 0:
        there = ", ".join(known["version"].head(5)) or "none; train one with 'signalbox train'"
        raise InputError(f"no router version '{version}' is registered; newest: {there}")
    raise InputError(f"router version '{version}' fits {', '.join(found['version'])}; say more")


def _registered(events: pl.DataFrame) -> list[str]:
    """Versions that were registered, and not retired since."""
    last = (
        events.filter(pl.col("event").is_in(["register", "retire"]))
        .sort("at")
        .unique("version", keep="last")
    )
    return last.filter(event="register")["version"].to_list()


def _ever_champion(events: pl.DataFrame) -> set[str]:
    return set(events.filter(event="promote")["version"])


def _champions(events: pl.DataFrame) -> list[str]:
    """The champions on top of each other, the current one last."""
    moves = events.filter(pl.col("event").is_in(["promote", "rollback"])).sort("sequence")
    stack: list[str] = []
    for event, version in moves.select("event", "version").iter_rows():
        if event == "promote":
            stack.append(version)
        else:
            stack.pop()
    return stack


def _champion(events: pl.DataFrame) -> str | None:
    champions = _champions(events)
    return champions[-1] if champions else None


def _move_champion(lake: Lake, *, wanted: Callable[[pl.DataFrame], pl.DataFrame | None]) -> None:
    """Append the event `wanted` makes of the events on the very handle it is committed on."""

    def staged(handle: DeltaTable) -> list[Shard]:
        events = scan_handle(handle, table=REGISTRY).collect()
        event = wanted(events)
        if event is None:
            return []
        number = max([0, *events["sequence"]]) + 1
        numbered = event.with_columns(sequence=pl.lit(number, dtype=pl.Int64))
        name = f"rows-{secrets.token_hex(16)}.parquet"
        return [write_shard(numbered, lake=lake, table=REGISTRY, name=name)]

    commit_on_handle(staged, lake=lake, table=REGISTRY, scope=CHAMPION_SCOPE)


def _event(kind: Kind, **values: str) -> pl.DataFrame:
    row = {
        "event_id": secrets.token_hex(16),
        "sequence": 0,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": kind,
        "who": getpass.getuser(),
        **values,
    }
    return pl.DataFrame([row | dict.fromkeys(set(REGISTRY.schema) - set(row))]).select(
        pl.col(name).cast(dtype) for name, dtype in REGISTRY.schema.items()
    )

"""What a night begins with, settled before anything is done, and when that is given up."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from cluster import registry
from cluster.candidate import Candidate, load_candidates
from cluster.jobs.run import Manifest
from cluster.jobs.spending import paid
from cluster.lake.lake import Lake
from cluster.lake.tables import REWARDS, WATCHED
from cluster.nightly.night import ABANDONED, Facts, Night
from cluster.nightly.watched import Look, look
from flows.retrain_params import RetrainParams


def begin(params: RetrainParams, *, before: Manifest | None, lake: Lake) -> Facts:
    """What a night begins with: files, candidates, money, the champion, and where all stands.

    Args:
        params: of the flow.
        before: manifest of the last night, which may be an abandoned one's; None for the first.
        lake: where.
    """
    candidates = load_candidates(params.candidates) if params.candidates else []
    seen = _look(params, lake=lake)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [file.model_dump() for file in seen.new],
        "left": [file.model_dump() for file in seen.left],
        "candidates": _as_json(candidates),
        "max_usd": params.max_usd,
        "budget": params.budget,
        "paid": paid(candidates, lake=lake),
        "champion": registry.champion(lake),
        "start": _newest(params, lake=lake),
        # What the last night trained on was looked at, or is trusted.
        "rewards": before["rewards_version"] if before else lake.version(REWARDS),
        "standing": before["standing"] if before else None,
        "abandoned": _abandoned(before),
    }


def give_up(params: RetrainParams, *, night: Night) -> str:
    """Why an unfinished night is not gone on with, in words; empty: it is.

    A night keeps the candidates, the cap and the budget that it began with. Where these are others
    by now, it would ask whom nobody wants asked any more; unless its decision has been made, when
    there is nobody left to ask.
    """
    if night.number == params.abandon_night:
        return "it was given up by hand, with --abandon-night"
    if night.settled("decision") is not None:
        return ""
    begun, told = night.begun, []
    now = load_candidates(params.candidates) if params.candidates else []
    if begun["candidates"] != _as_json(now):
        names = [one["name"] for one in begun["candidates"]]
        told.append(
            f"the candidate file has changed ({_changed(names, [one.name for one in now])})"
        )
    for name, flag in (("max_usd", "--max-usd"), ("budget", "--budget")):
        if begun[name] != getattr(params, name):
            told.append(f"{flag} is {getattr(params, name):g} and was {begun[name]:g}")
    return f"since it began {' and '.join(told)}" if told else ""


def _changed(before: list[str], now: list[str]) -> str:
    gone = [f"without {name}" for name in before if name not in now]
    come = [f"with {name}" for name in now if name not in before]
    return ", ".join([*gone, *come]) or "the same names, with other settings or in another order"


def _abandoned(before: Manifest | None) -> dict[str, Any] | None:
    """`number` and `why` of the night before, where it was abandoned."""
    if before is None or before["verdict"] != ABANDONED:
        return None
    return {"number": before["number"], "why": before["why"]}


def _as_json(candidates: list[Candidate]) -> list[dict[str, Any]]:
    return [candidate.model_dump(mode="json") for candidate in candidates]


def _newest(params: RetrainParams, *, lake: Lake) -> dict[str, tuple[str, str]]:
    """Method → version and checkpoint of the newest router of it on the dataset."""
    own = registry.versions(lake).filter(dataset=params.dataset)
    own = own.filter(pl.col("method").is_in(params.methods))
    first = own.unique("method", keep="first", maintain_order=True)
    rows = first.select("method", "version", "checkpoint").iter_rows()
    return {method: (version, checkpoint) for method, version, checkpoint in rows}


def _look(params: RetrainParams, *, lake: Lake) -> Look:
    """The watched files that were not taken yet."""
    if not params.watch:
        return Look()
    known = lake.scan(WATCHED).filter(pl.col("dataset") == params.dataset).select("uri", "stamp")
    taken = set(known.collect().iter_rows())
    return look(params.watch, taken=taken, settle_seconds=params.settle_seconds)

"""What a night begins with, settled before anything is done."""

from datetime import UTC, datetime

import polars as pl

from cluster import registry
from cluster.candidate import load_candidates
from cluster.jobs.run import Manifest
from cluster.jobs.spending import paid
from cluster.lake.lake import Lake
from cluster.lake.tables import REWARDS, WATCHED
from cluster.nightly.night import Facts
from cluster.nightly.watched import Look, look
from flows.retrain_params import RetrainParams


def begin(params: RetrainParams, *, before: Manifest | None, lake: Lake) -> Facts:
    """What a night begins with: files, candidates, money, the champion, and where all stands.

    Args:
        params: of the flow.
        before: manifest of the last night; None for the first.
        lake: where.
    """
    candidates = load_candidates(params.candidates) if params.candidates else []
    seen = _look(params, lake=lake)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [file.model_dump() for file in seen.new],
        "left": [file.model_dump() for file in seen.left],
        "candidates": [candidate.model_dump(mode="json") for candidate in candidates],
        "max_usd": params.max_usd,
        "budget": params.budget,
        "paid": paid(candidates, lake=lake),
        "champion": registry.champion(lake),
        "start": _newest(params, lake=lake),
        # What the last night trained on was looked at, or is trusted.
        "rewards": before["rewards_version"] if before else lake.version(REWARDS),
        "standing": before["standing"] if before else None,
    }


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

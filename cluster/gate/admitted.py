"""What was found about batches, as events in the lake, and how a refused one is released.

A refused batch's rewards stay where they are; that they are kept out is said beside them, by rows
of `kept_out`, and unsaid by one more event.
"""

import json
from collections.abc import Sequence

import polars as pl

from cluster.errors import InputError
from cluster.gate.admission import Admission
from cluster.gate.events import Event, append_event
from cluster.lake.commit import append_new
from cluster.lake.kept_out import RELEASED
from cluster.lake.lake import Lake
from cluster.lake.tables import ADMISSIONS, KEPT_OUT

FOUND = "found"
NIGHT = "night"
# What a night's small batches, judged together, are called behind the night's name.
SMALL = "small batches"


def note_admission(
    found: Admission, *, lake: Lake, dataset: str, scorer_id: str, labels: pl.DataFrame
) -> Admission:
    """Keep what was found about a batch, and its refused labels out; or return what was kept.

    Args:
        found: about the batch.
        lake: where to.
        dataset, scorer_id: whose labels.
        labels: `query_id`, `candidate_id` of those that are refused.
    """
    before = noted(lake, batch=found.batch)
    if before is not None:
        return before
    rows = labels.with_columns(batch=pl.lit(found.batch), scorer_id=pl.lit(scorer_id))
    if rows.height:
        append_new(rows, lake=lake, table=KEPT_OUT)

    def wanted(events: pl.DataFrame) -> Event | None:
        if events.filter(event=FOUND, batch=found.batch).height:
            return None
        return {
            "event": FOUND,
            "batch": found.batch,
            "dataset": dataset,
            "scorer_id": scorer_id,
            "labels": found.labels,
            "verdict": found.verdict,
            "found": json.dumps(found.as_json()),
            "why": found.why,
        }

    append_event(wanted, lake=lake, table=ADMISSIONS, scope=f"admissions/{found.batch}")
    return found


def noted(lake: Lake, *, batch: str) -> Admission | None:
    """What was found about a batch before, or None."""
    events = lake.read(ADMISSIONS).filter(event=FOUND, batch=batch)
    return Admission.from_json(json.loads(events["found"][0])) if events.height else None


def still_small(lake: Lake, *, dataset: str, scorer_id: str, night: str) -> tuple[str, ...]:
    """query_ids of the small batches of the nights before that even together told nothing."""
    events = lake.read(ADMISSIONS).filter(event=FOUND, dataset=dataset, scorer_id=scorer_id)
    pools = events.filter(
        pl.col("batch").str.ends_with(f" {SMALL}") & (pl.col("batch") != f"{night} {SMALL}")
    ).sort("sequence")
    if not pools.height:
        return ()
    return Admission.from_json(json.loads(pools["found"][-1])).small


def note_night(lake: Lake, *, night: str, dataset: str, scorer_id: str, rewards: int) -> None:
    """Keep that all rewards up to a version of their table have been looked at."""

    def wanted(events: pl.DataFrame) -> Event | None:
        if events.filter(event=NIGHT, batch=night, dataset=dataset, scorer_id=scorer_id).height:
            return None
        return {
            "event": NIGHT,
            "batch": night,
            "dataset": dataset,
            "scorer_id": scorer_id,
            "found": json.dumps({"rewards": rewards}),
        }

    append_event(wanted, lake=lake, table=ADMISSIONS, scope=f"admissions/{dataset}/{scorer_id}")


def looked_at(lake: Lake, *, dataset: str, scorer_id: str, night: str) -> int | None:
    """Version of the rewards up to which the nights before have looked at all; None before the
    first one."""
    nights = lake.read(ADMISSIONS).filter(event=NIGHT, dataset=dataset, scorer_id=scorer_id)
    before = nights.filter(pl.col("batch") != night)["found"]
    versions: Sequence[int] = [json.loads(one)["rewards"] for one in before]
    return max(versions, default=None)


def admissions(lake: Lake) -> pl.DataFrame:
    """One row a batch, oldest first: `at`, `batch`, `dataset`, `labels`, `verdict`, `why`,
    `released` (by whom and why; null where it was not)."""
    events = lake.read(ADMISSIONS).sort("at", "sequence")
    released = events.filter(event=RELEASED).select(
        "batch", released=pl.format("{}: {}", "who", "why")
    )
    return (
        events.filter(event=FOUND)
        .join(released.unique("batch"), on="batch", how="left", maintain_order="left")
        .select("at", "batch", "dataset", "labels", "verdict", "why", "released")
    )


def release(lake: Lake, *, batch: str, why: str) -> None:
    """Let the labels of a refused batch be learned from after all.

    Raises:
        InputError: no such batch was refused.
    """
    known = admissions(lake).filter(pl.col("verdict").str.contains("refused"))
    if batch not in known["batch"]:
        there = ", ".join(known["batch"]) or "none"
        raise InputError(f"no batch '{batch}' was refused; refused batches: {there}")

    def wanted(events: pl.DataFrame) -> Event | None:
        if events.filter(event=RELEASED, batch=batch).height:
            return None
        return {"event": RELEASED, "batch": batch, "why": why}

    append_event(wanted, lake=lake, table=ADMISSIONS, scope=f"admissions/{batch}")

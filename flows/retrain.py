"""retrain: one night. What is new is answered, labelled, learned from, and put before the gate."""

from typing import Any

from prefect import flow

from cluster import registry
from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from cluster.nightly.night import PAGE, Night, NightAbandonedError
from cluster.nightly.page import page
from cluster.nightly.words import headline, subject, words
from cluster.ray_cluster import cluster_address
from flows.retrain_begin import begin, give_up
from flows.retrain_params import RetrainParams, check
from flows.retrain_steps import Steps
from tasks.events import EventName, emit
from tasks.nightly import show_night
from tasks.notify import notify
from tasks.report import say, show_pairs

__all__ = ["RetrainParams", "check", "retrain", "show_result"]


@flow(name="retrain", persist_result=False)
def retrain(params: RetrainParams) -> Manifest:
    """Take what is new, have it answered and labelled, train, and promote what is better.

    Killed at any point and run again, it goes on with what it began with; run twice at once, both
    do one night together. A night with nothing new says so and spends nothing.
    """
    night: Night | None = None
    try:
        night = _open(params)
        lake = Lake.open(params.lake)
        manifest = _work(params, night=night, lake=lake)
        told = _tell(manifest, params=params, night=night, lake=lake)
        # Last, when everybody has been told: a night that was killed before tells it again.
        return night.finish(manifest | told)
    except Exception as error:
        _tell_failed(error, params=params, night=night)
        raise


def _open(params: RetrainParams) -> Night:
    """The night to do, where everything is as it must be."""
    check(params)
    lake = Lake.open(params.lake)
    return Night.open(
        lake,
        series=params.series(),
        begin=lambda before: begin(params, before=before, lake=lake),
        give_up=lambda night: give_up(params, night=night),
    )


def _work(params: RetrainParams, *, night: Night, lake: Lake) -> Manifest:
    """What the night came to, and its page."""
    steps = Steps(params, night=night, lake=lake)
    found: Manifest = {}
    if steps.is_anything_new():
        with cluster_address(params.ray_address) as address:
            found = steps.run(address=address)
    manifest = steps.manifest(found) | {"report": night.uri(PAGE)}
    night.write_page(page(manifest))
    return manifest


def _tell(manifest: Manifest, *, params: RetrainParams, night: Night, lake: Lake) -> dict[str, str]:
    """Events, artifacts and a notification; returns who was notified, or why nobody was."""
    night.require_open()
    _emit(manifest, night=night, lake=lake)
    show_night(manifest)
    text = "\n".join([*words(manifest), "", f"Report: {manifest['report']}"])

    def told() -> dict[str, str]:
        trouble = notify(params.notify, subject=subject(manifest), body=text)
        return {"notified": "" if trouble else params.notify, "not_notified": trouble}

    return night.settle("notified", told)


def _emit(manifest: Manifest, *, night: Night, lake: Lake) -> None:
    """Events about what happened; told again by a rerun, they are the same ones."""
    told: dict[str, Any] = {"night": night.name, "report": manifest["report"]}
    refused = [row for row in manifest["admissions"] if row["refused"]]
    if refused:
        payload = told | {"batches": len(refused), "why": "; ".join(row["why"] for row in refused)}
        emit("signalbox.labels.refused", lake=lake, payload=payload, key=night.name)
    drift = manifest["drift"]
    if drift and drift["alarms"]:
        payload = told | {"router": drift["router"], "why": drift["words"]}
        emit("signalbox.drift.found", lake=lake, payload=payload, key=night.name)
    decision = manifest["decision"]
    if decision:
        name: EventName = (
            "signalbox.router.promoted" if decision["promoted"] else "signalbox.router.kept"
        )
        payload = told | {
            "version": decision["version"],
            "method": decision["method"],
            "champion": registry.champion(lake),
            "why": decision["why"],
            "by": "gate",
        }
        emit(name, lake=lake, payload=payload, key=night.name)
    payload = told | {"verdict": manifest["verdict"], "why": manifest["why"]}
    payload |= {"spent_usd": manifest["spent_usd"]}
    emit("signalbox.retrain.finished", lake=lake, payload=payload, key=night.name)


def _tell_failed(error: Exception, *, params: RetrainParams, night: Night | None) -> None:
    """Word of a night that failed, or could not begin; the next run goes on with it."""
    why = str(error) or type(error).__name__
    # Not opened: that may be what failed.
    lake = Lake.at(params.lake)
    name = night.name if night else ""
    emit("signalbox.retrain.failed", lake=lake, payload={"night": name, "why": why})
    what = f"night {night.number} failed" if night else "a night could not begin"
    notify(
        params.notify,
        subject=f"signalbox: {what}",
        body=f"{why}\n\nLake: {lake.storage.uri}. {_next(error, night=night)}",
    )


def _next(error: Exception, *, night: Night | None) -> str:
    """What the next run does, in words."""
    if night is None:
        return "The next run tries again."
    if isinstance(error, NightAbandonedError):
        return "The next run goes on with the night after it."
    return (
        "The next run goes on with this night. Where the candidate file, --max-usd or --budget has "
        "changed by then, the night is abandoned instead and another begins; --abandon-night "
        f"{night.number} does the same by hand."
    )


def show_result(manifest: Manifest) -> None:
    """The first numbers and what was decided, on stderr."""
    rows = [{"name": name, "value": value} for name, value in headline(manifest)]
    show_pairs(rows, title=subject(manifest))
    for line in words(manifest):
        say(line)
    if manifest["not_notified"]:
        say(f"{manifest['not_notified']}; the night is done all the same")
    say(f"report: {manifest['report']}")

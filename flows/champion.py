"""promote, rollback: which router is champion, moved by hand; the same at a terminal and in the UI.

Where no Prefect server is at hand nobody listens, and the move is made all the same: taking a bad
router off must not wait for a server.
"""

from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from cluster import registry
from cluster.gate.decision import Decision
from cluster.lake.lake import Lake
from flows.registry import PromoteParams, RollbackParams
from tasks.artifacts import markdown_artifact, plain
from tasks.events import emit
from tasks.report import say

Moved = dict[str, Any]
# With a default nothing is required, and the UI's quick run is one click without a form.
BY_HAND = RollbackParams()


@flow(name="promote", persist_result=False)
def promote(params: PromoteParams) -> Moved:
    """Make a registered router champion, whatever the gate would say."""
    lake = Lake.open(params.lake, create=False)
    moved = _promote(params, lake=lake)
    if moved["promoted"]:
        emit("signalbox.router.promoted", lake=lake, payload=moved | {"by": "hand"})
    verdict = "is champion now" if moved["promoted"] else "was not promoted"
    _show(f"Router {moved['version'][:12]} {verdict}: {moved['why']}")
    return moved


@flow(name="rollback", persist_result=False)
def rollback(params: RollbackParams = BY_HAND) -> Moved:
    """Take the champion off and bring back the one before."""
    lake = Lake.open(params.lake, create=False)
    moved = _rollback(params, lake=lake)
    payload = {"version": moved["champion"], "taken_off": moved["taken_off"], "why": params.why}
    emit("signalbox.router.rolled-back", lake=lake, payload=payload)
    _show(f"Router {moved['champion'][:12]} is champion again: {params.why}")
    return moved


def run_promote(params: PromoteParams) -> Moved:
    """The command.

    Raises:
        InputError: no such version.
    """
    if _server_answers():
        return promote(params)
    lake = Lake.open(params.lake, create=False)
    moved = _promote(params, lake=lake)
    if moved["promoted"]:
        _say_who_waits(lake)
    return moved


def run_rollback(params: RollbackParams) -> Moved:
    """The command.

    Raises:
        InputError: there is no champion, or none before it.
    """
    if _server_answers():
        return rollback(params)
    lake = Lake.open(params.lake, create=False)
    moved = _rollback(params, lake=lake)
    _say_who_waits(lake)
    return moved


def _promote(params: PromoteParams, *, lake: Lake) -> Moved:
    before = registry.champion(lake)
    version = registry.resolve(lake, version=params.router)["version"]
    by_hand = Decision(promote=True, why=params.why)
    decision = registry.promote(lake, version=version, decide=lambda _: by_hand)
    told = {"version": version, "promoted": decision.promote, "why": decision.why}
    return told | {"parent": before}


def _rollback(params: RollbackParams, *, lake: Lake) -> Moved:
    before = registry.champion(lake)
    return {"champion": registry.rollback(lake, why=params.why), "taken_off": before}


def _server_answers() -> bool:
    """Whether a server was named and is there; one that was named and is not is told of."""
    if not PREFECT_API_URL.value():
        return False
    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
    if trouble is not None:
        say(
            f"no Prefect server answers at {PREFECT_API_URL.value()}: the move is made and kept in "
            "the lake, and nobody is told of it"
        )
    return trouble is None


def _say_who_waits(lake: Lake) -> None:
    """What would have been routed anew, had a server been named that hears of the move."""
    # Imports all that routes, which a move with a server needs nothing of.
    from flows.route_waiting import FOLDER, job_files

    if PREFECT_API_URL.value() or not job_files("", lake=lake):
        return
    say(
        f"nobody was told: no PREFECT_API_URL; jobs in {lake.storage.join(FOLDER)} are not routed "
        "anew: run 'signalbox route-waiting', and set the variable as 'signalbox up' says next time"
    )


def _show(text: str) -> None:
    markdown_artifact(plain(text), key="champion", description="Which router is champion")

"""Whether `retrain` runs by itself, when next and for how much, as the server has it."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from flows.deployments import NIGHTLY, TIMEZONE

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

# The server's scheduler looks for new schedules every 5 s, and for all others once a minute.
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 1.0


async def nightly_words(client: "PrefectClient", *, patience: float = PATIENCE_SECONDS) -> str:
    """One sentence on the nights; waits up to `patience` seconds until the next is scheduled."""
    found = await client.read_deployment_by_name(f"{NIGHTLY}/{NIGHTLY}")
    on = [each.schedule for each in found.schedules if each.active]
    if found.paused or not on:
        return (
            f"{NIGHTLY} does not run by itself: give its parameters with --nightly FILE.yaml, or "
            "set them in the UI and turn its schedule on"
        )
    zone = getattr(on[0], "timezone", None) or TIMEZONE
    when = ", ".join(getattr(each, "cron", "") or "another schedule" for each in on)
    following = await _next_run(found, client=client, patience=patience)
    if following is None:
        return (
            f"WARNING: {NIGHTLY} will NOT run by itself: its schedule ({when}, {zone}) is on, but "
            f"the Prefect server has no run to come after {patience:.0f} s; look at what the "
            "server says, or start nights by hand"
        )
    shown = following.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")
    return f"{NIGHTLY} runs by itself ({when}, {zone}; next: {shown}): {_spends(found.parameters)}"


async def _next_run(
    found: "DeploymentResponse", *, client: "PrefectClient", patience: float
) -> datetime | None:
    """When the server starts a deployment next; None when it has scheduled nothing in time."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        following = await _scheduled(found.id, client=client)
        if following is not None or asyncio.get_running_loop().time() >= deadline:
            return following
        await asyncio.sleep(LOOK_SECONDS)


async def _scheduled(deployment: UUID, *, client: "PrefectClient") -> datetime | None:
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.objects import StateType

    to_come = {
        "state": {"type": {"any_": [StateType.SCHEDULED]}},
        "expected_start_time": {"after_": datetime.now(UTC)},
    }
    runs = await client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment]}}),
        flow_run_filter=FlowRunFilter.model_validate(to_come),
    )
    times = [run.expected_start_time for run in runs if run.auto_scheduled]
    return min((time for time in times if time), default=None)


def _spends(parameters: dict[str, Any]) -> str:
    values = parameters.get("params", {})
    if not values.get("candidates"):
        return "no candidate is asked"
    usd = values.get("max_usd", 0)
    return f"at most {usd:g} USD a night" if usd else "without a cap; set max-usd"

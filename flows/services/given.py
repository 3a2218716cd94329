"""What `up` gives the deployments, and what of it a user has changed in the UI since.

Whoever spoke last is heard: a value that `up` gives differently than at its last start replaces
the server's; all others stay as they are on the server, schedules and pauses among them.
"""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flows.deployments import NIGHTLY, Deployment, runner_deployment

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner

# Prefect variable that holds what was given last.
VARIABLE = "signalbox_up_gave"


class Given(BaseModel):
    """What `up` gives the deployments.

    Attributes:
        lake: URI of the lake of runs that name no other.
        candidates: candidate file of runs that name no other; empty: none.
        nightly: parameters of the nightly `retrain`; empty: it does not run by itself.
    """

    model_config = ConfigDict(frozen=True)

    lake: str = ""
    candidates: str = ""
    nightly: dict[str, Any] = {}

    def made(self, deployment: Deployment) -> "RunnerDeployment":
        """The deployment as it is with that and nothing else."""
        named = {"lake": self.lake, "candidates": self.candidates}
        defaults = {name: value for name, value in named.items() if value}
        values = self.nightly if deployment.name == NIGHTLY else {}
        return runner_deployment(deployment, defaults=defaults, values=values)


async def last_given() -> Given:
    """What `up` gave when it was last started on the server."""
    from prefect.variables import Variable

    return Given.model_validate(await Variable.aget(VARIABLE, default={}))


async def remember(given: Given) -> None:
    """Let the next start know what was given."""
    from prefect.variables import Variable

    await Variable.aset(VARIABLE, given.model_dump(mode="json"), overwrite=True)


async def make_known(
    deployment: Deployment,
    *,
    runner: "Runner",
    client: "PrefectClient",
    given: Given,
    before: Given,
) -> UUID:
    """Let the server know a deployment, and the runner run it; returns its id."""
    from prefect.exceptions import ObjectNotFound

    made = given.made(deployment)
    try:
        found = await client.read_deployment_by_name(made.full_name)
    except ObjectNotFound:
        return await runner.aadd_deployment(made)
    made.parameters = _with_params(
        latest(
            found.parameters.get("params", {}),
            given=made.parameters.get("params", {}),
            before=before.made(deployment).parameters.get("params", {}),
        )
    )
    begins = deployment.name == NIGHTLY and given.nightly != before.nightly
    if found.schedules or not begins:
        _leave(made, "schedules")
    if not begins:
        _leave(made, "paused")
    known = await runner.aadd_deployment(made)
    if begins:
        await _activate(found, client=client)
    return known


def latest(
    found: dict[str, Any], *, given: dict[str, Any], before: dict[str, Any]
) -> dict[str, Any]:
    """Parameters of which each is as it was said last: in the UI, or by `up`.

    Args:
        found: what the server has.
        given: what `up` gives now.
        before: what it gave at its last start.
    """
    new = {
        name: value for name, value in given.items() if name not in before or before[name] != value
    }
    gone = {
        name
        for name, value in before.items()
        if name not in given and name in found and found[name] == value
    }
    return {name: value for name, value in found.items() if name not in gone} | new


def _with_params(values: dict[str, Any]) -> dict[str, Any]:
    return {"params": values} if values else {}


def _leave(made: "RunnerDeployment", name: str) -> None:
    """Send nothing about a field to the server; what is not set is not sent."""
    if name == "schedules":
        # Sent whenever there are some.
        made.schedules = []
    made.model_fields_set.discard(name)


async def _activate(found: "DeploymentResponse", *, client: "PrefectClient") -> None:
    """Let a deployment run by itself whose schedules are all off."""
    if any(each.active for each in found.schedules):
        return
    for each in found.schedules:
        await client.update_deployment_schedule(found.id, each.id, active=True)

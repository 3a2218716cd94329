"""Runs that an `up` which was killed has left as running: nobody would ever end them.

They would stand in the UI as running for ever, and where one run at a time is allowed, as for a
night, every later one would be cancelled.
"""

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Crashed

CRASHED = "ended with the 'signalbox up' that ran it; what was committed is kept, run it again"
CANCELLED = "was being cancelled when the 'signalbox up' that ran it ended"


async def end_left_over(client: PrefectClient, deployments: Sequence[UUID]) -> int:
    """End the runs of deployments that are said to be on; call before any is started.

    Only for a server of our own, whose runs had their processes under an `up` that is gone.
    Returns how many there were.
    """
    ours = DeploymentFilter.model_validate({"id": {"any_": list(deployments)}})
    states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    on = FlowRunFilter.model_validate({"state": {"type": {"any_": states}}})
    runs = await client.read_flow_runs(deployment_filter=ours, flow_run_filter=on)
    for run in runs:
        is_cancelling = run.state_type == StateType.CANCELLING
        state: State[None] = (
            Cancelled(message=CANCELLED) if is_cancelling else Crashed(message=CRASHED)
        )
        await client.set_flow_run_state(run.id, state, force=True)
    return len(runs)

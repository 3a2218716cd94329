"""A flow of many task runs that are all running at once, and what the server knows of them then.

    many_tasks.py COUNT

Prints one line of JSON: how many tasks came back, the states of the task runs that the server has
(they are told to it as events, so they may arrive late), of how many tasks there is a progress
artifact, the seconds of the flow, and those until the server had all.
"""

import json
import sys
import threading
import time
from collections import Counter
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from cluster.jobs.run import Part
from tasks.artifacts import ProgressArtifacts

PATIENCE_SECONDS = 90.0
# Looks are work for the server too, which is to take note of events meanwhile.
LOOK_SECONDS = 2.0
PAGE = 200


@task(cache_policy=NO_CACHE, persist_result=False)
def step(number: int, *, together: Any) -> int:
    """One of many: waits until all are running, and tells of its progress as jobs do."""
    together.wait()
    ProgressArtifacts("many").show([Part(f"part {number}", done=number, total=number)])
    return number


def run_many(count: int) -> dict[str, Any]:
    """So many task runs at once."""
    together = threading.Barrier(count, timeout=PATIENCE_SECONDS * 3)

    @flow(name="many", task_runner=ThreadPoolTaskRunner(max_workers=count), persist_result=False)
    def many() -> tuple[str, list[int]]:
        futures = [step.submit(number, together=together) for number in range(count)]
        return str(flow_run.id), [future.result() for future in futures]

    start = time.monotonic()
    run_id, came_back = many()
    seconds = time.monotonic() - start
    states = all_states(run_id, count=count)
    recorded = time.monotonic() - start
    return {
        "came_back": len(set(came_back)),
        "states": states,
        "artifacts": artifacts_of(run_id),
        "seconds": seconds,
        "recorded_seconds": recorded,
    }


def all_states(run_id: str, *, count: int) -> dict[str, int]:
    """The states once all are completed, or when nothing has changed for a while."""
    states, changed = known(run_id), time.monotonic()
    while states != {"COMPLETED": count}:
        time.sleep(LOOK_SECONDS)
        # A busy server answers late with what was true when it was asked.
        asked = time.monotonic()
        now = known(run_id)
        if now != states:
            states, changed = now, time.monotonic()
        elif asked - changed > PATIENCE_SECONDS:
            break
    return states


def known(run_id: str) -> dict[str, int]:
    """How many task runs of a flow run are in which state, by the server."""
    one = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    states: Counter[str] = Counter()
    with get_client(sync_client=True) as client:
        while page := client.read_task_runs(flow_run_filter=one, limit=PAGE, offset=states.total()):
            states.update(str(run.state_type.value) for run in page if run.state_type)
    return dict(states)


def artifacts_of(run_id: str) -> int:
    """Of how many tasks the server has an artifact.

    Of a task there may be two: the client asks again where no answer comes, and creates another.
    """
    one = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    found: list[Any] = []
    with get_client(sync_client=True) as client:
        while page := client.read_artifacts(artifact_filter=one, limit=PAGE, offset=len(found)):
            found += page
    return len({artifact.task_run_id for artifact in found})


if __name__ == "__main__":
    print(json.dumps(run_many(int(sys.argv[1]))))

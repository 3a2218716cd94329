"""A job under Prefect: progress, log and failure as Prefect's server has them."""

import asyncio
import importlib.util
import secrets
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import JobError
from cluster.jobs.run import Part, Run

JOBS = Path(__file__).parents[1] / "cluster" / "jobs"
found = importlib.util.spec_from_file_location("odd_job", JOBS / "odd_job.py")
odd_job = importlib.util.module_from_spec(found)
found.loader.exec_module(odd_job)
OddSpec = odd_job.OddSpec


def run_under_prefect(spec: OddSpec, *, address: str, name: str) -> Any:
    """Run one spec in a flow; returns the flow's final state."""
    from prefect import flow

    from tasks.jobs import ray_job

    @flow(name=name, persist_result=False)
    def one_job() -> dict:
        return ray_job(spec, address=address)

    return one_job(return_state=True)


def told(name: str) -> tuple[list[Any], list[Any]]:
    """Log records and artifacts of the one run of a flow."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, LogFilter

    async def ask() -> tuple[list[Any], list[Any]]:
        async with get_client() as client:
            only = FlowFilter.model_validate({"name": {"any_": [name]}})
            [run] = await client.read_flow_runs(flow_filter=only)
            wanted = LogFilter.model_validate({"flow_run_id": {"any_": [str(run.id)]}})
            logs = await client.read_logs(log_filter=wanted, limit=200)
            artifacts = await client.read_artifacts()
            return logs, [made for made in artifacts if made.flow_run_id == run.id]

    return asyncio.run(ask())


def told_in_the_end(name: str, *, line: str) -> tuple[list[Any], list[Any]]:
    """The same, once the line has reached the server: log records travel in batches."""
    import time

    for _ in range(100):
        logs, artifacts = told(name)
        if any(line in record.message for record in logs):
            return logs, artifacts
        time.sleep(0.2)
    pytest.fail(f"'{line}' is not in the run's log: {[record.message for record in logs]}")


def spec_in(tmp_path: Path, **fields: Any) -> OddSpec:
    return OddSpec(lake=str(tmp_path / "lake"), nonce=secrets.token_hex(4), **fields)


def test_progress_and_log_reach_prefect(prefect, ray_address, tmp_path) -> None:
    spec = spec_in(tmp_path, does="finish_slowly")
    state = run_under_prefect(spec, address=ray_address, name="good")
    assert state.result()["runs"] == 1
    logs, artifacts = told_in_the_end("good", line="signalbox.odd finishing")
    assert any(record.task_run_id for record in logs if "finishing" in record.message)
    shown = [made for made in artifacts if made.type == "progress"]
    assert [(made.key, made.data) for made in shown] == [("odd-job-steps", 100.0)]
    assert shown[0].task_run_id is not None
    assert "3 rows" in shown[0].description


def test_a_failed_job_fails_the_run_with_the_job_s_words(prefect, ray_address, tmp_path) -> None:
    spec = spec_in(tmp_path, does="complain")
    state = run_under_prefect(spec, address=ray_address, name="bad")
    assert state.is_failed()
    with pytest.raises(JobError, match=r"queries\.csv row 7"):
        state.result()
    assert Run.of(spec).read_manifest() is None


def test_a_part_without_a_total_is_no_share_yet(prefect) -> None:
    from prefect import flow

    from tasks.artifacts import ProgressArtifacts

    @flow(name="parts", persist_result=False)
    def show() -> None:
        artifacts = ProgressArtifacts("job")
        for done, total in ((0, 0), (1, 4), (1, 4), (4, 4)):
            artifacts.show([Part("Ä part!", done=done, total=total)])

    show()
    _, artifacts = told("parts")
    assert [(made.key, made.data) for made in artifacts] == [("job-part", 100.0)]


def test_a_training_is_followed_epoch_by_epoch(prefect) -> None:
    from prefect import flow

    from tasks.artifacts import ProgressArtifacts

    @flow(name="epochs", persist_result=False)
    def show() -> None:
        artifacts = ProgressArtifacts("train")
        for epoch, score in ((1, 0.5), (2, 0.55), (3, 0.54)):
            note = f"validation score {score}"
            artifacts.show([Part("methods: mf", epoch, 12, unit="epochs at most", note=note)])

    show()
    _, artifacts = told("epochs")
    assert [(made.key, made.data) for made in artifacts] == [("train-methods-mf", 25.0)]
    assert artifacts[0].description == (
        "train: methods: mf, 3 of 12 epochs at most, validation score 0.54"
    )

"""infra/prefect.yaml: what `up` serves, deployed for a work pool on a real server."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import yaml

from flows.deployments import DEPLOYMENTS, Deployment, runner_deployment

FILE = Path(__file__).parents[2] / "infra" / "prefect.yaml"
SECONDS = 300
by_name = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one.name)


def test_no_two_have_the_same_name() -> None:
    names = [one.name for one in DEPLOYMENTS]
    assert sorted(names) == sorted(set(names))


@by_name
def test_a_deployment_is_one_of_a_flow_with_parameters(deployment: Deployment) -> None:
    made = runner_deployment(deployment, defaults={"lake": "s3://bucket/lake"})
    assert made.entrypoint == deployment.entrypoint
    assert made.parameters == {"params": {"lake": "s3://bucket/lake"} | deployment.defaults}
    assert deployment.flow().name == deployment.name


def test_a_candidate_file_is_a_default_where_a_file_is_asked_for() -> None:
    """`train` has names of candidates under the same word."""
    given = {"candidates": "/c.yaml"}
    made = {one.name: runner_deployment(one, defaults=given).parameters for one in DEPLOYMENTS}
    with_file = {name for name, parameters in made.items() if parameters}
    assert with_file == {"collect", "retrain"}


@pytest.fixture(scope="module")
def prefect(prefect_api: str, private_home: dict[str, str], ray_address: str) -> Callable[..., str]:
    """Run Prefect's own command on the server; returns what it said."""
    settings = {
        "PREFECT_API_URL": prefect_api,
        "SIGNALBOX_RAY_ADDRESS": ray_address,
        "PREFECT_CLI_PROMPT": "false",
    }

    def run(*arguments: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=os.environ | private_home | settings | env,
            cwd=FILE.parents[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def deployed(prefect: Callable[..., str], prefect_api: str, toy: Any) -> dict[str, dict[str, Any]]:
    """What the server knows, by name, after `prefect deploy --all`."""
    prefect("work-pool", "create", "signalbox", "--type", "process")
    prefect("deploy", "--all", "--prefect-file", str(FILE), SIGNALBOX_LAKE="s3://elsewhere/lake")
    known = httpx.post(f"{prefect_api}/deployments/filter", json={}, timeout=30).json()
    return {one["name"]: one for one in known}


def test_all_are_deployed_and_no_other(deployed: dict[str, Any]) -> None:
    assert set(deployed) == {one.name for one in DEPLOYMENTS}
    assert len(yaml.safe_load(FILE.read_text())["deployments"]) == len(DEPLOYMENTS)


@by_name
def test_a_work_pool_has_what_up_serves(deployment: Deployment, deployed: dict[str, Any]) -> None:
    found, meant = deployed[deployment.name], runner_deployment(deployment)
    for name in ("entrypoint", "description", "tags", "parameters"):
        assert found[name] == getattr(meant, name), name
    limit = found["global_concurrency_limit"]
    assert (limit and limit["limit"]) == meant.concurrency_limit
    options = meant.concurrency_options
    strategy = (found["concurrency_options"] or {}).get("collision_strategy")
    assert strategy == (options.collision_strategy.value if options else None)
    schedules = [
        (one["schedule"]["cron"], one["schedule"]["timezone"], one["active"])
        for one in found["schedules"]
    ]
    when = deployment.schedule
    assert schedules == ([(when.cron, when.timezone, when.active)] if when else [])
    assert found["work_pool_name"] == "signalbox"
    assert found["pull_steps"] == [
        {"prefect.deployments.steps.set_working_directory": {"directory": "."}}
    ]
    assert found["job_variables"]["env"]["SIGNALBOX_LAKE"] == "s3://elsewhere/lake"


def test_nights_are_one_at_a_time_and_a_second_is_cancelled(deployed: dict[str, Any]) -> None:
    nightly = deployed["retrain"]
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.slow
def test_a_new_champion_starts_the_waiting_jobs(
    deployed: dict[str, Any],
    prefect: Callable[..., str],
    prefect_api: str,
    signalbox: Any,
    toy: Any,
) -> None:
    """On the lake of the event, whatever lake the deployment was made for; a worker runs them."""
    waiting, routed = toy.lake / "waiting", toy.lake.parent / "waited.parquet"
    waiting.mkdir(exist_ok=True)
    (waiting / "all.yaml").write_text(f"input: {toy.table}\noutput: {routed}\n")
    before = toy.trained["promotion"]["version"]
    [version] = [one["version"] for one in toy.trained["routers"] if one["version"] != before]
    signalbox("registry", "promote", "--router", version, "--lake", toy.lake)
    [run] = _runs(deployed["route-waiting"]["id"], api=prefect_api)
    assert run["parameters"] == {"params": {"lake": str(toy.lake)}}
    prefect("worker", "start", "--pool", "signalbox", "--run-once")
    assert pl.read_parquet(routed)["router"].unique().to_list() == [version]
    signalbox("registry", "rollback", "--lake", toy.lake)


def _runs(deployment: str, *, api: str) -> list[dict[str, Any]]:
    """The runs of a deployment, once there are some."""
    only = {"deployments": {"id": {"any_": [deployment]}}}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        runs = httpx.post(f"{api}/flow_runs/filter", json=only, timeout=30).json()
        if runs:
            return list(runs)
        time.sleep(0.3)
    raise AssertionError("no run was started")

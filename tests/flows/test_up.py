"""`signalbox up` as its users have it: forms, runs, cancelling, a server that dies, an end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import polars as pl
import pytest

from cluster.process_mark import marked
from flows.deployments import DEPLOYMENTS
from tests.living_up import GONE_SECONDS, SECONDS, Up, brought_up, wait_for, words, words_of_runs

# An import of so many goes on until it is stopped.
ROWS = 3_000_000


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, private_home: dict[str, str]) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    (folder / "nightly.yaml").write_text("methods: [knn]\n")
    with brought_up(folder, "--nightly", "nightly.yaml", env=private_home) as living:
        yield living


def test_every_deployment_is_there_with_the_lake_of_up(up: Up) -> None:
    for deployment in DEPLOYMENTS:
        known = up.deployment(deployment.name)
        assert known["description"] == deployment.description
        assert known["tags"] == deployment.all_tags
        assert known["parameters"]["params"]["lake"] == str(up.lake)
        assert known["paused"] is False


def test_the_server_has_the_next_night_and_the_next_upkeep(up: Up) -> None:
    """As runs of its own that wait for their time: without them nothing runs by itself."""
    night, upkeep = (planned(up, name) for name in ("retrain", "upkeep"))
    assert (night.hour, night.minute) == (2, 0)
    assert timedelta(0) < night - datetime.now(UTC) <= timedelta(days=1)
    assert (upkeep.hour, upkeep.minute, upkeep.isoweekday()) == (5, 0, 7)
    assert timedelta(0) < upkeep - datetime.now(UTC) <= timedelta(days=7)
    said = up.folder / "said"
    wait_for(lambda: f"UTC; next: {night:%Y-%m-%d %H:%M})" in said.read_text())


def test_what_the_server_says_lies_where_up_says(up: Up) -> None:
    log = up.folder / "prefect" / "signalbox-server.log"
    said = (up.folder / "said").read_text()
    assert f"what the Prefect server says: {log}" in said
    assert f"other terminals: export PREFECT_API_URL={up.url}/api\n" in said
    wait_for(lambda: up.url in log.read_text())


def planned(up: Up, name: str) -> datetime:
    """When a deployment runs next by itself, in UTC."""
    runs = wait_for(lambda: [run for run in up.runs(name) if run["auto_scheduled"]])
    assert {run["state"]["type"] for run in runs} == {"SCHEDULED"}
    times = [datetime.fromisoformat(run["expected_start_time"]) for run in runs]
    return min(times).astimezone(UTC)


@pytest.mark.slow
def test_a_run_begins_and_ends_by_itself_when_its_time_comes(up: Up) -> None:
    schedules = f"{up.url}/api/deployments/{up.deployment('upkeep')['id']}/schedules"
    every_minute = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
    [made] = httpx.post(schedules, json=[every_minute], timeout=60).raise_for_status().json()
    began = wait_for(lambda: [one for one in up.runs("upkeep") if one["start_time"]])
    httpx.delete(f"{schedules}/{made['id']}", timeout=60).raise_for_status()
    assert began[0]["auto_scheduled"] is True
    up.completed(UUID(began[0]["id"]))


@pytest.mark.parametrize(
    ("home", "port", "told"),
    [("own", "taken", "name another --port"), ("same", "0", "is running already")],
)
def test_a_second_up_is_refused_where_it_would_be_in_the_way(
    up: Up, private_home: dict[str, str], home: str, port: str, told: str
) -> None:
    folder = up.folder / {"own": "another", "same": "prefect"}[home]
    number = up.url.rpartition(":")[2] if port == "taken" else port
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "up", "--port", number, "--lake", "lake"],
        env=os.environ | private_home | {"PREFECT_HOME": str(folder), "PREFECT_API_URL": ""},
        cwd=up.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert told in done.stderr
    assert done.stderr.count("already in use") == (port == "taken")


def test_an_address_that_is_not_of_this_machine_is_refused(told: Any, tmp_path: Path) -> None:
    refused = told("up", "--host", "192.0.2.1", "--lake", tmp_path, PREFECT_API_URL="")
    refused.refused("--host 192.0.2.1", "an address of this machine")
    assert "another" not in refused.err


def test_a_wrong_value_is_refused_before_there_is_a_run(up: Up) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        up.run("import", format="table", path="t.csv", dataset="x", calibration=7)
    assert refused.value.response.status_code in (409, 422)
    assert "7 is greater than the maximum" in refused.value.response.text


def test_a_run_that_is_refused_says_so_in_one_sentence(up: Up) -> None:
    said = up.folder / "said"
    before = len(said.read_text())
    run = up.run("rollback")
    state = up.ended(run)
    assert state["type"] == "FAILED"
    assert "InputError: no champion to roll back to" in state["message"]
    wait_for(lambda: "Finished in state Failed" in "".join(logs(up, run)))
    [sentence] = [line for line in logs(up, run) if line.startswith("no champion to roll back to")]
    assert sentence in said.read_text()[before:]
    for told in ("".join(logs(up, run)), said.read_text()[before:]):
        assert "Traceback" not in told
        assert "unhandled exception" not in told


def logs(up: Up, run: UUID) -> list[str]:
    """What stands on a run's page."""
    only = {"flow_run_id": {"any_": [str(run)]}}
    return [log["message"] for log in up.ask("POST", "logs/filter", logs=only)]


def test_a_promoted_router_starts_the_waiting_jobs(up: Up, toy_table: str) -> None:
    """From an empty lake, while the Prefect server is killed in the middle of the training."""
    (up.folder / "table.csv").write_text(toy_table)
    up.completed(up.run("import", format="table", path="table.csv", dataset="toy"))
    jobs = up.lake / "waiting"
    jobs.mkdir()
    (jobs / "nightly.yaml").write_text("input: table.csv\noutput: routed.parquet\n")
    training = up.run("train", dataset="toy", promote=True)
    wait_for(lambda: up.state(training)["type"] == "RUNNING" and list(up.lake.glob("runs/train-*")))
    os.kill(up.server, signal.SIGKILL)
    up.completed(training)
    routed = wait_for(lambda: up.runs("route-waiting"))
    up.completed(UUID(routed[0]["id"]))
    rows = pl.read_parquet(up.folder / "routed.parquet")
    assert len(rows) == 300
    assert rows["router"].n_unique() == 1


def begun(up: Up) -> UUID:
    """A run that will be on for a while, with its job at work."""
    table = up.folder / "large.parquet"
    numbered = pl.DataFrame({"n": range(ROWS)})
    numbered.select(text=pl.format("query {}", "n"), a=pl.lit(1), b=pl.lit(0)).write_parquet(table)
    run = up.run("import", format="table", path=str(table), dataset="large")
    wait_for(lambda: working(up))
    return run


def working(up: Up) -> list[str]:
    """What works on a job, of all that is marked as started by `up`."""
    found = [words(pid) for pid in marked(up.mark)]
    return [word for word in found if "cluster.jobs." in word]


def flow_processes(up: Up) -> list[int]:
    return [pid for pid in marked(up.mark) if "prefect.engine" in words(pid)]


def test_a_run_cancelled_in_the_ui_leaves_no_process(up: Up) -> None:
    run = begun(up)
    up.ask("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    wait_for(lambda: not words_of_runs(up), seconds=GONE_SECONDS)
    assert up.ended(run)["type"] == "CANCELLED"


@pytest.mark.slow
def test_a_run_whose_process_is_killed_leaves_no_process(up: Up) -> None:
    run = begun(up)
    for pid in flow_processes(up):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not words_of_runs(up), seconds=GONE_SECONDS)
    assert up.ended(run)["type"] == "CRASHED"


@pytest.mark.slow
def test_up_that_is_killed_leaves_no_process_and_no_run_that_seems_to_be_on(
    tmp_path: Path, private_home: dict[str, str]
) -> None:
    """On a server that asks for a password, which `up` hands on and never tells."""
    env = private_home | {"PREFECT_SERVER_API_AUTH_STRING": "admin:planted-word"}
    with brought_up(tmp_path, env=env) as up:
        mark, run = up.mark, begun(up)
        assert httpx.get(f"{up.url}/api/flow_runs/{run}", timeout=60).status_code == 401
        up.process.kill()
        wait_for(lambda: not marked(mark), seconds=GONE_SECONDS)
    with brought_up(tmp_path, env=env) as up:
        said = (up.folder / "said").read_text()
        assert f"export PREFECT_API_URL={up.url}/api PREFECT_API_AUTH_STRING=USER" in said
        assert "planted-word" not in said
        assert "planted-word" not in (up.folder / "prefect/signalbox-server.log").read_text()
        assert up.state(run)["type"] == "CRASHED"
        assert "signalbox up" in up.state(run)["message"]


def test_ctrl_c_ends_the_runs_and_everything_else(up: Up) -> None:
    """The last test: nothing is up any more."""
    mark = up.mark
    begun(up)
    up.process.send_signal(signal.SIGINT)
    told, _ = up.process.communicate(timeout=SECONDS)
    assert up.process.returncode == 0
    assert json.loads(told)["url"] == up.url
    assert marked(mark) == []

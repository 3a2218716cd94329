"""A run that is cancelled in the UI: nothing of it is left, and told again it goes on."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import registry
from cluster.lake.tables import COMPLETIONS
from cluster.process_mark import marked
from tests.faults.conftest import PLUGINS
from tests.faults.site import Echo
from tests.faults.toy import toy_lake, trained
from tests.living_up import GONE_SECONDS, Up, brought_up, wait_for, words, words_of_runs
from tests.routed import query_rows

# The suite of every day has one under `up`, in tests/flows/test_up.py.
pytestmark = pytest.mark.slow

FAULT = "cancelled in the UI: no process within 30 s"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One whose runs see the echo engine."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(secrets.token_hex(32))
    env = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(PLUGINS),
        "ECHO_FOLDER": str(folder),
    }
    with brought_up(folder, env=env) as living:
        yield living


@pytest.fixture
def cancelled(up: Up) -> Callable[..., None]:
    """Run a deployment and cancel it once something holds; nothing of it is left."""

    def cancel(name: str, *, reached: Callable[[], Any], **params: Any) -> None:
        run = up.run(name, **params)
        wait_for(reached)
        up.ask("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
        wait_for(lambda: not words_of_runs(up), seconds=GONE_SECONDS)
        assert up.ended(run)["type"] == "CANCELLED"

    return cancel


def at_work(up: Up, job: str) -> bool:
    return any(f"cluster.jobs.{job}" in words(pid) for pid in marked(up.mark))


def test_collect(*, up: Up, fresh, site, cancelled, fault_table, tmp_path: Path) -> None:
    slow = tuple(one.model_copy(update={"model": "0.5"}) for one in fresh.candidates)
    calm, world = (
        replace(fresh, root=str(tmp_path / name), candidates=slow) for name in ("calm", "lake")
    )
    site.succeed(calm.ingest())
    site.succeed(calm.generate())
    fields = {"name", "engine", "model", "template", "samples"}
    file = tmp_path / "candidates.yaml"
    file.write_text(yaml.safe_dump([one.model_dump(mode="json", include=fields) for one in slow]))
    params = {"queries": str(world.file), "candidates": str(file), "dataset": "d"}
    params |= {"shard_rows": 1, "lake": world.root}
    echo = Echo(up.folder)
    with fault_table.run(FAULT, where="collect"):
        cancelled("collect", reached=lambda: len(echo.generated()) > 2, **params)
        before = world.stored()
        assert 0 < len(before) < 60
        echo.forget()
        up.completed(up.run("collect", **params))
        log = echo.generated()
        assert len(log) == len(set(log)) == 60 - len(before)
        assert before.isdisjoint(log)
        assert world.lake.read(COMPLETIONS).height == 60
        world.must_equal(calm.facts(), tables=("queries", "completions"))


def test_train(up: Up, cancelled, fault_table, tmp_path: Path) -> None:
    calm, lake = (toy_lake(str(tmp_path / name), folder=tmp_path) for name in ("calm", "lake"))
    params = {"dataset": "toy", "methods": ["knn"]}
    up.completed(up.run("train", **params, lake=calm.storage.uri))
    params["lake"] = lake.storage.uri
    with fault_table.run(FAULT, where="train"):
        cancelled("train", reached=lambda: at_work(up, "train"), **params)
        assert trained(lake)[1] == {}
        up.completed(up.run("train", **params))
        (metrics, files), (calm_metrics, calm_files) = trained(lake), trained(calm)
        assert metrics.equals(calm_metrics)
        assert files == calm_files


def test_route(up: Up, cancelled, fault_table, tmp_path: Path) -> None:
    lake = toy_lake(str(tmp_path / "lake"), folder=tmp_path)
    up.completed(up.run("train", dataset="toy", methods=["knn"], lake=lake.storage.uri))
    query_rows(300).write_parquet(tmp_path / "in.parquet")
    params = {"lake": lake.storage.uri, "input": str(tmp_path / "in.parquet")}
    [params["router"]] = registry.versions(lake)["version"]
    calm, routed = tmp_path / "calm.parquet", tmp_path / "routed.parquet"
    up.completed(up.run("route", **params, output=str(calm)))
    with fault_table.run(FAULT, where="route"):
        params["output"] = str(routed)
        cancelled("route", reached=lambda: at_work(up, "route"), **params)
        assert not routed.exists()
        up.completed(up.run("route", **params))
        assert routed.read_bytes() == calm.read_bytes()

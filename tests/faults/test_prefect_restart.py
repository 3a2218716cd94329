"""A Prefect server that is killed and started again in the middle of a command."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults.site import wait_until
from tests.faults.toy import toy_lake, trained
from tests.prefect_server import PrefectServer, living_server

# Each is a command by hand, and a server that is started twice.
pytestmark = pytest.mark.slow

FAULT = "the Prefect server is killed and starts again"
PATIENCE_SECONDS = 400.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with living_server(tmp_path_factory.mktemp("restarting")) as living:
        yield living


def jobs_on(lake: Path) -> list[int]:
    """Processes that work on a lake's jobs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_text()
            if "cluster.jobs." in words and str(lake) in words:
                found.append(int(folder.name))
    return found


@dataclass
class Hit:
    """Runs a command, whose server is away for a while once something holds."""

    server: PrefectServer
    env: dict[str, str]
    folder: Path

    def __call__(self, *words: str, lake: Path, reached: Callable[[], Any]) -> dict[str, Any]:
        told, said = self.folder / "told", self.folder / "said"
        with (
            told.open("wb") as out,
            said.open("wb") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *words, "--lake", str(lake)],
                env=self.env | self.server.env,
                stdout=out,
                stderr=errors,
            ) as run,
        ):
            try:
                wait_until(lambda: reached() or run.poll() is not None, seconds=PATIENCE_SECONDS)
                assert run.poll() is None, said.read_text()[-3000:]
                self.server.end(signal.SIGKILL)
                self.server.start()
                status = run.wait(timeout=PATIENCE_SECONDS)
            finally:
                run.kill()
        assert status == 0, said.read_text()[-3000:]
        assert jobs_on(lake) == []
        manifest: dict[str, Any] = json.loads(told.read_text().splitlines()[-1])
        return manifest


@pytest.fixture
def hit(server: PrefectServer, site, tmp_path: Path) -> Hit:
    return Hit(server, os.environ | site.env, tmp_path)


def test_collect(fresh, site, hit: Hit, fault_table, tmp_path: Path) -> None:
    slow = tuple(one.model_copy(update={"model": "0.5"}) for one in fresh.candidates)
    calm, world = (
        replace(fresh, root=str(tmp_path / name), candidates=slow) for name in ("calm", "lake")
    )
    site.succeed(calm.ingest())
    site.succeed(calm.generate())
    fields = {"name", "engine", "model", "template", "samples"}
    file = tmp_path / "candidates.yaml"
    file.write_text(yaml.safe_dump([one.model_dump(mode="json", include=fields) for one in slow]))
    words = ["collect", "--queries", str(world.file), "--candidates", str(file), "--dataset", "d"]
    words += ["--shard-rows", "1", "--ray-address", site.address]
    site.echo.forget()
    with fault_table.run(FAULT, where="collect"):
        hit(*words, lake=tmp_path / "lake", reached=site.echo.generated)
        log = site.echo.generated()
        assert len(log) == len(set(log)) == 60
        world.must_equal(calm.facts(), tables=("queries", "completions"))


def test_train(site, hit: Hit, prefect, fault_table, tmp_path: Path) -> None:
    calm, lake = (toy_lake(str(tmp_path / name), folder=tmp_path) for name in ("calm", "lake"))
    words = ["train", "--dataset", "toy", "--methods", "knn", "--ray-address", site.address]
    done = site.cli(*words, "--lake", calm.storage.uri, prefect=prefect)
    assert done.returncode == 0, done.stderr[-3000:]
    with fault_table.run(FAULT, where="train"):
        hit(*words, lake=tmp_path / "lake", reached=lambda: jobs_on(tmp_path / "lake"))
        (metrics, files), (calm_metrics, calm_files) = trained(lake), trained(calm)
        assert metrics.equals(calm_metrics)
        assert files == calm_files

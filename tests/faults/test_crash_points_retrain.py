"""Every write boundary of a night: the flow dies there, the night is run again, nothing shows it.

The flow's own process dies; its jobs, which die in tests of their own, are forked from a process
that has imported everything, so that a night takes seconds.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import registry
from cluster.lake.lake import Lake
from tests.faults.crashes import Work
from tests.faults.forks import Drivers, drivers
from tests.faults.night import QUERIES, answered, facts_of, forget_answers, night

FLOW = """
import json, sys
import tasks.jobs
from cluster.errors import JobError
from cluster.jobs.run import Run
from flows.cli import main

def run_job(spec, *, address, listener):
    run = Run.of(spec)
    manifest = run.read_manifest()
    if manifest is not None:
        return manifest | {"done_before": True}
    order = {"words": ["-m", spec.module, run.write_spec(spec)], "env": {}, "log": JOB_LOG}
    with open(ORDERS, "w") as orders:
        print(json.dumps(order), file=orders)
    with open(ANSWERS) as answers:
        answers.readline()
        answers.readline()
    manifest = run.read_manifest()
    if manifest is None:
        raise JobError(run.read_error() or open(JOB_LOG).read())
    return manifest

tasks.jobs.run_job = run_job
main(sys.argv[1:])
"""


@dataclass
class Flows:
    """Runs commands in forks, and their jobs in forks of another process."""

    forks: Drivers
    code: str

    def __call__(self, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        failpoint = env.pop("failpoint", "")
        return self.forks.run(
            ("-c", self.code, *words), env=env | {"SIGNALBOX_FAILPOINT": failpoint}
        )


@contextmanager
def jobs_by_pipe(env: dict[str, str], *, folder: Path) -> Iterator[str]:
    """Code that names the pipes by which a process asks for jobs."""
    names = {name: folder / name.lower() for name in ("ORDERS", "ANSWERS")}
    with ExitStack() as stack:
        for pipe in names.values():
            os.mkfifo(pipe)
            # Held open at both ends, so that no end of a flow is the end of the pipe.
            stack.enter_context(pipe.open("r+b", buffering=0))
        jobs = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("drivers.py"))],
            env=env,
            stdin=stack.enter_context(names["ORDERS"].open("r+b", buffering=0)),
            stdout=stack.enter_context(names["ANSWERS"].open("r+b", buffering=0)),
        )
        paths = names | {"JOB_LOG": folder / "job.log"}
        yield "\n".join(f"{name} = {str(path)!r}" for name, path in paths.items())
        jobs.kill()
        jobs.wait()


@pytest.fixture(scope="module")
def flows(site, prefect: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("flows")
    modules = ("prefect", "flows.cli", "flows.retrain", "cluster.jobs.train")
    with (
        jobs_by_pipe(site.env, folder=folder) as pipes,
        drivers(site.env | prefect, folder=folder, modules=modules) as forks,
    ):
        yield Flows(forks, code=pipes + FLOW)


@pytest.fixture
def words(site, tmp_path: Path) -> list[str]:
    """A night with one new file."""
    Lake.open(tmp_path / "lake")
    return night(tmp_path, lake=str(tmp_path / "lake"), ray_address=site.address)


def test_a_night_dies(words: list[str], flows, die_everywhere, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")

    def checked(before: list[str]) -> None:
        assert len(answered(tmp_path)) == 2 * QUERIES, "an answer was generated twice"

    def process(**env: str) -> "subprocess.CompletedProcess[str]":
        if not Path(lake.storage.uri, "nights").exists():
            forget_answers(tmp_path)
        return flows(*words, **env)

    work = Work(
        name="retrain",
        root=Path(lake.storage.uri),
        process=process,
        facts=facts_of(lake),
        checked=checked,
    )
    die_everywhere(work)
    assert registry.champion(lake) is not None

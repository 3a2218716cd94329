"""A machine with a living Ray cluster, and what its workers were seen to do."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.failpoint import FIRED, VARIABLE
from cluster.jobs.run import Run
from cluster.jobs.spec import JobSpec
from tests.faults.bad_store import BadStore
from tests.faults.forks import Drivers

PATIENCE_SECONDS = 60.0


@dataclass
class Echo:
    """The folder the echo engine is steered by."""

    folder: Path
    mark: int = 0

    @contextlib.contextmanager
    def switch(self, name: str) -> Iterator[None]:
        """`failing` or `dying`, while the block lasts."""
        (self.folder / name).touch()
        try:
            yield
        finally:
            (self.folder / name).unlink()

    def generated(self) -> list[tuple[str, str, int]]:
        """(candidate_id, query_id, sample) of every answer since the last `forget`."""
        lines = (line.split() for line in self._lines()[self.mark :])
        return [(candidate, query, int(sample)) for _, candidate, query, sample in lines]

    def forget(self) -> None:
        self.mark = len(self._lines())

    def _lines(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@dataclass
class Site:
    """A machine with a living Ray cluster, where jobs are run by hand."""

    folder: Path
    echo: Echo
    address: str
    env: dict[str, str]
    failpoints: Path
    drivers: Drivers
    store: BadStore

    @property
    def workers_trace(self) -> Path:
        """The write boundaries that Ray's workers have passed."""
        return self.folder / "workers.trace"

    def job(
        self, spec: JobSpec, *, failpoint: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a job's driver to its end, or to a failpoint."""
        uri = Run.of(spec).write_spec(spec)
        return self.driver("-m", f"cluster.jobs.{spec.job}", uri, failpoint=failpoint, **env)

    def driver(
        self, *words: str, failpoint: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """As `python`, by a fork of a process that has imported everything."""
        return self.drivers.run(words, env={VARIABLE: failpoint} | env)

    def python(
        self, *words: str, failpoint: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with the cluster in its environment."""
        return subprocess.run(
            [sys.executable, *words],
            env=self.env | {VARIABLE: failpoint} | env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS * 2,
            check=False,
        )

    def cli(self, *words: str, prefect: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a signalbox command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            env=self.env | prefect,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS * 8,
            check=False,
        )

    def succeed(self, spec: JobSpec) -> dict[str, Any]:
        """Run a job; returns its manifest."""
        done = self.job(spec)
        assert done.returncode == 0, done.stderr[-3000:]
        manifest = Run.of(spec).read_manifest()
        assert manifest is not None
        return manifest

    def succeed_beside(self, spec: JobSpec) -> dict[str, Any]:
        """As `succeed`, in a process that others may run beside."""
        done = self.python("-m", spec.module, Run.of(spec).write_spec(spec))
        assert done.returncode == 0, done.stderr[-3000:]
        manifest = Run.of(spec).read_manifest()
        assert manifest is not None
        return manifest

    def crash(self, spec: JobSpec, *, failpoint: str) -> None:
        """Run a job that must die at a failpoint, and wait until its workers are gone too."""
        done = self.job(spec, failpoint=failpoint)
        assert done.returncode == -signal.SIGKILL, f"{failpoint} was not passed: {done.stderr}"
        self.wait_for_workers()

    @contextlib.contextmanager
    def worker_failpoint(self, words: str) -> Iterator[None]:
        """Let the first worker that passes a place die there, once; it must be passed."""
        self.failpoints.write_text(words)
        fired = Path(f"{self.failpoints}{FIRED}")
        try:
            yield
        except BaseException:
            fired.unlink(missing_ok=True)
            raise
        finally:
            self.failpoints.unlink(missing_ok=True)
        assert fired.exists(), f"no worker passed {words}"
        fired.unlink()

    def wait_for_workers(self) -> None:
        """Until no process that ever wrote to the log is alive."""
        log = self.echo.folder / "log"
        pids = {line.split()[0] for line in log.read_text().splitlines()} if log.exists() else ()
        wait_until(lambda: not any(_is_worker(pid) for pid in pids))


def _is_worker(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return b"GenerateWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def wait_until(reached: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)

"""What a `signalbox route` command takes while it runs: memory, processor time, its first row."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 0.4
LOOK_SECONDS = 0.05
MB = 2**20
# Command lines of the two kinds of process that touch rows.
DRIVER, WORKER = "cluster.jobs.route", "ray::RouteWorker"


@dataclass
class Watched:
    """One run.

    Attributes:
        manifest: its last line.
        wall: seconds of the whole command.
        spec_at, driver_at, worker_at, first_at: seconds from its start until the job was
            specified, its driver ran, its first worker ran and its first shard was through.
        curve: (seconds, MB of the driver, MB of all workers), proportional set size.
        cpu: processor seconds by process id of driver and workers.
    """

    manifest: dict[str, Any] = field(default_factory=dict)
    wall: float = 0.0
    spec_at: float | None = None
    driver_at: float | None = None
    worker_at: float | None = None
    first_at: float | None = None
    curve: list[tuple[float, float, float]] = field(default_factory=list)
    cpu: dict[int, float] = field(default_factory=dict)

    @property
    def peak(self) -> float:
        """MB of driver and workers together, at most."""
        return max((driver + workers for _, driver, workers in self.curve), default=0.0)

    @property
    def cpu_seconds(self) -> float:
        """Of driver and workers."""
        return sum(self.cpu.values())


def watched_route(lake: Path, *, words: list[str]) -> Watched:
    """Run `signalbox route` and look at it all the while.

    Raises:
        SystemExit: it fails; what it said is printed.
    """
    command = [sys.executable, "-m", "flows.cli", "route", "--lake", str(lake), *words]
    found, start, sampled = Watched(), time.monotonic(), 0.0
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=told, stderr=said) as run:
            while run.poll() is None:
                now = time.monotonic() - start
                _look(found, lake=lake, now=now)
                if now - sampled > SAMPLE_SECONDS:
                    sampled = now
                    _sample(found, pid=run.pid, now=now)
                time.sleep(LOOK_SECONDS)
        found.wall = time.monotonic() - start
        told.seek(0)
        said.seek(0)
        if run.returncode:
            sys.exit(said.read())
        found.manifest = json.loads(told.read().splitlines()[-1])
    return found


def _look(found: Watched, *, lake: Path, now: float) -> None:
    """Whether something has come up that was not there before."""
    if found.spec_at is None and next(lake.glob("runs/route-*/spec.json"), None):
        found.spec_at = now
    if found.first_at is None and next(lake.glob("runs/route-*/scratch/*/parts/*.json"), None):
        found.first_at = now


def _sample(found: Watched, *, pid: int, now: float) -> None:
    """Memory and processor time of driver and workers."""
    sizes = {DRIVER: 0.0, WORKER: 0.0}
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in below:
        try:
            line = " ".join(process.cmdline())
            kind = next((kind for kind in sizes if kind in line and "/bin/" not in line[:6]), None)
            if kind is None:
                continue
            sizes[kind] += process.memory_full_info().pss / MB
            spent = process.cpu_times()
            found.cpu[process.pid] = spent.user + spent.system
        except psutil.Error:
            continue
    if sizes[DRIVER] and found.driver_at is None:
        found.driver_at = now
    if sizes[WORKER] and found.worker_at is None:
        found.worker_at = now
    if any(sizes.values()):
        found.curve.append((now, sizes[DRIVER], sizes[WORKER]))


def draw(runs: dict[str, Watched], file: Path) -> None:
    """The memory of each run over its time, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    for (name, run), colour in zip(runs.items(), ("#3e7cb1", "#c8553d"), strict=False):
        seconds = [when - run.curve[0][0] for when, _, _ in run.curve]
        whole = [driver + workers for _, driver, workers in run.curve]
        axes.plot(seconds, whole, color=colour, label=f"{name}: peak {run.peak:,.0f} MB")
    axes.set(xlabel="seconds from the start of the job's driver", ylabel="MB, driver and workers")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)

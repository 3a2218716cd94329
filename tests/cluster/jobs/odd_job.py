"""A job that does what its spec says, well or badly; Ray starts it as it starts ours."""

import logging
import os
import sys
import time
from typing import ClassVar

from cluster.errors import InputError
from cluster.jobs.follower import NOBODY
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec

LOG = logging.getLogger("signalbox.odd")


class OddSpec(JobSpec):
    """What to do.

    Attributes:
        does: the name of a function below.
        fails_first: do `does` in the first run and `finish` in later ones.
        lines: lines to log in the end.
        nonce: makes equal work other work.
    """

    job: ClassVar[str] = "odd_job"

    does: str = "finish"
    fails_first: bool = False
    lines: int = 0
    nonce: str = ""

    @property
    def module(self) -> str:
        return "odd_job"


def odd(spec: OddSpec, run: Run) -> Manifest:
    run.storage.write_new(run.uri("pids", f"{os.getpid()}"), b"")
    runs = len(run.storage.list(run.uri("pids")))
    for done in range(3):
        run.progress(Part("steps", done=done + 1, total=3, note="odd"), now=True)
    if not spec.fails_first or runs == 1:
        globals()[f"_{spec.does}"](spec, run)
    for line in range(spec.lines):
        print(f"line {line}", flush=line == spec.lines - 1)
    output = run.uri("output.txt")
    run.storage.write(output, b"done")
    return {"outputs": [output], "runs": runs, "interpreter": sys.executable}


def _finish(spec: OddSpec, run: Run) -> None:
    """Nothing goes wrong."""


def _finish_slowly(spec: OddSpec, run: Run) -> None:
    """Long enough for whoever follows to see every word."""
    time.sleep(2)
    LOG.info("finishing")


def _complain(spec: OddSpec, run: Run) -> None:
    raise InputError("queries.csv row 7, field 'text': is empty; fill it in")


def _break(spec: OddSpec, run: Run) -> None:
    raise ZeroDivisionError("our own fault")


def _be_reaped(spec: OddSpec, run: Run) -> None:
    """As a job ends that saw no sign of life."""
    run.write_error(NOBODY)
    os._exit(1)


def _die(spec: OddSpec, run: Run) -> None:
    print("last words", flush=True)
    os._exit(3)


def _complain_in_actor(spec: OddSpec, run: Run) -> None:
    import ray

    ray.get(_actor().complain.remote())


def _wait(spec: OddSpec, run: Run) -> None:
    """An actor's process is left waiting, as is the driver's."""
    import ray

    run.storage.write_new(run.uri("actor"), str(ray.get(_actor().pid.remote())).encode())
    LOG.info("waiting")
    time.sleep(300)


def _actor():
    import ray

    from cluster.ray_cluster import connect

    connect()

    @ray.remote(num_cpus=0)
    class Actor:
        def pid(self) -> int:
            return os.getpid()

        def complain(self) -> None:
            raise InputError("candidates.yaml, candidate 'a': its model is not there")

    return Actor.remote()


if __name__ == "__main__":
    main(OddSpec, work=odd)

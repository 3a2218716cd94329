"""Drivers of jobs, one process each, without a second spent on their imports.

A process that has imported what jobs import forks for every order, and the fork does what
`python -m cluster.jobs.NAME SPEC` would do. One line of JSON an order (`words`, `env`, `log`), and
two lines an answer: the fork's pid, then its exit status.
"""

import json
import os
import runpy
import sys
import warnings
from typing import Any

from cluster.ray_cluster import prepare_environment

prepare_environment()

import ray  # noqa: E402, F401
import torch  # noqa: E402, F401

import cluster.jobs.generate  # noqa: E402
import cluster.jobs.ingest  # noqa: E402
import cluster.jobs.label  # noqa: E402
import cluster.jobs.route  # noqa: E402
import cluster.jobs.train  # noqa: E402, F401


def become(order: dict[str, Any]) -> None:
    """Do in this process what a command line says: `-m MODULE …` or `-c CODE …`."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(order["env"])
    kind, what, *rest = order["words"]
    sys.argv = [what, *rest]
    # Its module is imported already, for the processes after it.
    warnings.simplefilter("ignore", RuntimeWarning)
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<order>", "exec"), {"__name__": "__main__"})


def serve() -> None:
    """Fork for every order until stdin closes."""
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            become(order)
            return
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()

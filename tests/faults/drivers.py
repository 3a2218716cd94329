"""Drivers of jobs, one process each, without a second spent on their imports.

A process that has imported what jobs import forks for every order, and the fork does what
`python -m cluster.jobs.NAME SPEC` would do. One line of JSON an order (`words`, `env`, `log`), and
two lines an answer: the fork's pid, then its exit status. What is imported may be told by name.
"""

import importlib
import json
import os
import runpy
import sys
import warnings
from typing import Any

from cluster.ray_cluster import prepare_environment

JOBS = ("drift", "generate", "ingest", "label", "route", "take", "train")
MODULES = (
    "ray",
    "torch",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.cluster",
    *(f"cluster.jobs.{name}" for name in JOBS),
    "cluster.routers.knn",
    "cluster.routing.report",
    "cluster.training.mf",
    "cluster.training.run",
)


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
    prepare_environment()
    for name in sys.argv[1:] or MODULES:
        importlib.import_module(name)
    serve()

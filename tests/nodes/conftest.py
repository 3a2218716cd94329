"""Several Ray nodes on one machine, and the end of one of them."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from cluster.jobs.ingest import ingest
from cluster.jobs.run import Run
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.process import process_start
from tests.faults.conftest import (
    PATIENCE_SECONDS,
    PLUGINS,
    Echo,
    World,
    echo_candidate,
    wait_until,
    write_queries,
)

SCRIPT = Path(__file__).parent / "several_nodes.py"
# A node that says nothing counts as dead after 5 s, not after 30, and Ray Train looks at its
# workers, which wait for that after an epoch, five times a second and not every other second.
HEALTH = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
SUBMIT = """
import importlib, sys
from pathlib import Path
from cluster.jobs.client import Listener, run_job
module, kind, file, address = sys.argv[1:]
spec = getattr(importlib.import_module(module), kind).parse(Path(file).read_bytes())
listener = Listener(log=lambda line: print(line, file=sys.stderr), progress=lambda parts: None)
run_job(spec, address=address, listener=listener)
"""


@dataclass(frozen=True)
class Node:
    """A worker node: its raylet, below which everything of it runs."""

    raylet: int
    address: str

    def processes(self) -> set[int]:
        """Process ids of everything on it."""
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_text()
                parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        below = {self.raylet}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        return below

    def those(self, doing: str) -> set[int]:
        """Process ids of those whose command line names something."""
        found = set()
        for pid in self.processes():
            with contextlib.suppress(OSError):
                if doing.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(pid)
        return found

    def living(self) -> bool:
        """Whether anything of it runs; the raylet that has ended waits for who started it."""
        return any(process_start(pid) for pid in self.processes())

    def freeze(self) -> None:
        """All of it stands still, as behind a cable that was pulled."""
        os.kill(self.raylet, signal.SIGSTOP)
        for pid in self.processes() - {self.raylet}:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """All of it at once, as when the power goes."""
        os.kill(self.raylet, signal.SIGSTOP)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@dataclass
class Nodes:
    """A head without CPUs and worker nodes of one CPU each.

    Attributes:
        ray: the process that starts them.
        folder: of the logs, and of what steers the echo engine.
        echo: what was answered.
        address: of the dashboard.
        env: of whoever joins the cluster.
        alive: worker nodes that nobody has killed.
    """

    ray: "subprocess.Popen[str]"
    folder: Path
    echo: Echo
    address: str
    env: dict[str, str]
    alive: list[Node] = field(default_factory=list)

    def have(self, count: int) -> list[Node]:
        """So many nodes, new ones in place of those that were killed."""
        while len(self.alive) < count:
            self.add()
        return self.alive

    def add(self) -> Node:
        assert self.ray.stdin is not None
        assert self.ray.stdout is not None
        self.ray.stdin.write("add\n")
        self.ray.stdin.flush()
        self.alive.append(Node(*json.loads(self.ray.stdout.readline())))
        return self.alive[-1]

    def kill(self, node: Node) -> None:
        self.alive.remove(node)
        node.kill()

    def of(self, pid: int) -> Node:
        """The node that a process is on."""
        return next(node for node in self.alive if pid in node.processes())

    @contextlib.contextmanager
    def doing(self, spec: JobSpec) -> Iterator["subprocess.Popen[str]"]:
        """A Ray job on the head; it must succeed by itself by the block's end."""
        uri = Run.of(spec).write_spec(spec)
        words = ["-c", SUBMIT, spec.module, type(spec).__name__, uri, self.address]
        # It would go before the address that is given.
        env = {name: value for name, value in self.env.items() if name != "RAY_ADDRESS"}
        with self.python(*words, env=env) as job:
            yield job

    @contextlib.contextmanager
    def python(
        self, *words: str, env: dict[str, str] | None = None
    ) -> Iterator["subprocess.Popen[str]"]:
        """Python with the cluster in its environment; it must end well by the block's end."""
        log = self.folder / f"{secrets.token_hex(4)}.log"
        with (
            log.open("w") as out,
            subprocess.Popen(
                [sys.executable, *words],
                env=env or self.env,
                stdout=out,
                stderr=out,
                text=True,
            ) as run,
        ):
            try:
                yield run
                status = run.wait(timeout=PATIENCE_SECONDS * 5)
            finally:
                run.kill()
        assert status == 0, log.read_text()[-4000:]


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster of one's own; its workers know the echo engine."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "token").chmod(0o600)
    env = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_DEDUP_LOGS": "0",
        "RAY_TMPDIR": str(folder),
        "PYTHONPATH": str(PLUGINS),
        "ECHO_FOLDER": str(folder),
        "OMP_NUM_THREADS": "1",
        **HEALTH,
    }
    env.pop("RAY_ADDRESS", None)
    (folder / "ray").mkdir()
    with subprocess.Popen(
        [sys.executable, SCRIPT],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as ray:
        assert ray.stdin is not None
        assert ray.stdout is not None
        address, gcs = json.loads(ray.stdout.readline())
        env |= {"RAY_ADDRESS": gcs}
        yield Nodes(ray, folder, Echo(folder), address, env)
        ray.stdin.close()
        ray.wait(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> World:
    """120 queries and a candidate that takes 0.2 s for a shard of eight, on two workers."""
    folder = tmp_path_factory.mktemp("asked")
    file = write_queries(folder / "queries.jsonl", texts=[f"how much is {n}?" for n in range(120)])
    slow = echo_candidate("slow", seconds=0.2)
    spread = slow.resources.model_copy(update={"cpus": 1, "replicas": 2})
    candidate = slow.model_copy(update={"resources": spread})
    world = World(root=str(folder / "lake"), file=file, candidates=(candidate,))
    Lake.open(world.root)
    # Here, without Ray: it is not what is tested.
    ingest(world.ingest(), Run.of(world.ingest()))
    return world


@pytest.fixture(scope="session")
def answered(asked: World, nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> World:
    """What two nodes make of it, undisturbed."""
    world = asked.copied(tmp_path_factory.mktemp("answered") / "lake")
    nodes.have(2)
    with nodes.doing(world.generate()):
        pass
    return world


@pytest.fixture(scope="session")
def until():
    """Wait until something holds; a busy machine may take minutes to start a worker."""
    return partial(wait_until, seconds=PATIENCE_SECONDS * 5)

"""The workers of a route job: actors on Ray that pull shards, or this process alone.

Each actor has two tasks at most, so the rows that are handed over and not yet routed are bounded.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cluster.errors import EngineError
from cluster.files.source import SeenFile
from cluster.jobs.route_queue import Queue
from cluster.jobs.route_worker import RouteWorker, Task
from cluster.policies.policy import Policy
from cluster.routing.kernel import Routing
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary

LOG = logging.getLogger("signalbox.route")
TASKS_IN_FLIGHT = 2
# A shard that takes its worker with it each time is not handed out for ever.
MAX_DEATHS = 3
PATIENCE_SECONDS = 30.0
# A pretrained model on CPUs: more threads in one worker gain little, more workers take its memory
# once more each. Beside a GPU they tokenize.
MODEL_CORES = 4

Step = Literal["route", "score", "choose"]


@dataclass(frozen=True)
class Places:
    """So many workers, and what each of them has for itself."""

    workers: int
    cpus: int = 1
    gpus: int = 0

    def options(self) -> dict[str, Any]:
        """Of a Ray actor; libraries start as many threads as it has cores, and no more."""
        libraries = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        threads = dict.fromkeys(libraries, str(self.cpus))
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "runtime_env": {"env_vars": threads},
        }


def places(*, runs_model: bool) -> Places:
    """A worker a core of the cluster; of a model, a worker a GPU, or a few cores each."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    cores = [int(node.get("CPU", 0)) for node in nodes]
    if runs_model and gpus:
        shares = [int(node.get("CPU", 0)) // int(node["GPU"]) for node in nodes if node.get("GPU")]
        return Places(gpus, cpus=max(1, min(MODEL_CORES, *shares)), gpus=1)
    each = min([MODEL_CORES if runs_model else 1, *(count for count in cores if count)])
    return Places(max(1, sum(count // each for count in cores)), cpus=each)


class Pool(Protocol):
    """Who works through a queue of shards."""

    def work(self, queue: Queue, *, step: Step) -> Iterator[ShardSummary]:
        """What became of each shard, in the order they are through."""

    def use(self, policy: Policy) -> None:
        """Choose by a policy that has settled from now on."""


@dataclass
class Alone:
    """This process: where a file is small, an actor would take longer to start than to work."""

    worker: RouteWorker

    def work(self, queue: Queue, *, step: Step) -> Iterator[ShardSummary]:
        """See `Pool.work`."""
        while (task := queue.take(0)) is not None:
            yield getattr(self.worker, step)(task)

    def use(self, policy: Policy) -> None:
        """See `Pool.use`."""
        self.worker.use(policy)


@dataclass(frozen=True)
class _Running:
    """What a worker was asked for: to route a shard, or to say that it is ready (no task)."""

    worker: int
    task: Task | None = None


@dataclass
class Actors:
    """Workers on Ray; one that dies is replaced, and its shards go to another.

    A worker gets shards once it is ready: after a node's death there may be no place for it, and
    what waited for it would wait for ever.
    """

    routing: Routing
    files: list[SeenFile]
    store: Store
    places: Places
    workers: dict[int, Any] = field(default_factory=dict)
    starting: dict[Any, _Running] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    policy: Policy | None = None
    started: int = 0
    deaths_at_start: int = 0

    def work(self, queue: Queue, *, step: Step) -> Iterator[ShardSummary]:
        """See `Pool.work`.

        Raises:
            EngineError: whoever gets a certain shard dies, or no worker gets ready.
        """
        import ray

        tasks: dict[Any, _Running] = {}
        while len(self.workers) < self.places.workers:
            self._start()
        self.idle = [number for number in self._ready() for _ in range(TASKS_IN_FLIGHT)]
        while self._wake(queue, tasks=tasks, step=step):
            asked = tasks | self.starting
            done, _ = ray.wait(list(asked), num_returns=1, timeout=PATIENCE_SECONDS)
            if not done:
                self._tell_waiting()
                continue
            self.starting.pop(done[0], None)
            tasks.pop(done[0], None)
            summary = self._taken(done[0], what=asked[done[0]], queue=queue)
            if summary is not None:
                yield summary

    def use(self, policy: Policy) -> None:
        """See `Pool.use`; a worker does what it is told in order, so nobody is waited for."""
        self.policy = policy
        for worker in self.workers.values():
            worker.use.remote(policy)

    def _ready(self) -> list[int]:
        starting = {running.worker for running in self.starting.values()}
        return [number for number in self.workers if number not in starting]

    def _wake(self, queue: Queue, *, tasks: dict[Any, _Running], step: Step) -> bool:
        """Give the idle what is left; whether anything is worth waiting for."""
        idle, self.idle = [number for number in self.idle if number in self.workers], []
        for number in idle:
            task = queue.take(number)
            if task is None:
                self.idle.append(number)
            else:
                tasks[getattr(self.workers[number], step).remote(task)] = _Running(number, task)
        return bool(tasks) or not queue.is_through()

    def _taken(self, answer: Any, *, what: _Running, queue: Queue) -> ShardSummary | None:
        """What became of a shard; None where the worker has got ready, or has died."""
        import ray

        try:
            told = ray.get(answer)
        except ray.exceptions.RayActorError as error:
            self._lost(what, queue=queue, error=error)
            return None
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        self.idle += [what.worker] * (TASKS_IN_FLIGHT if what.task is None else 1)
        return told if isinstance(told, ShardSummary) else None

    def _start(self) -> None:
        import ray

        kind = ray.remote(RouteWorker).options(**self.places.options())
        number, self.started = self.started, self.started + 1
        worker = kind.remote(self.routing.spec, files=self.files, store=self.store)
        self.workers[number] = worker
        if self.policy is not None:
            worker.use.remote(self.policy)
        self.starting[worker.ready.remote()] = _Running(number)

    def _lost(self, what: _Running, *, queue: Queue, error: Exception) -> None:
        """Another worker in a dead one's place; what it had goes to whoever asks next."""
        if what.task is None:
            self._count_start(error)
        else:
            self._put_back(what.task, queue=queue, error=error)
        queue.forget(what.worker)
        if what.worker in self.workers:  # else another of its tasks has told already
            del self.workers[what.worker]
            LOG.warning("a worker died (%s); starting another", error)
            self._start()

    def _count_start(self, error: Exception) -> None:
        self.deaths_at_start += 1
        if self.deaths_at_start > MAX_DEATHS * self.places.workers:
            raise EngineError(
                f"{self.deaths_at_start} workers died before they had loaded the router; the "
                f"last: {error}"
            ) from error

    def _put_back(self, task: Task, *, queue: Queue, error: Exception) -> None:
        deaths, shard = queue.put_back(task), task.shard
        if deaths > MAX_DEATHS:
            raise EngineError(
                f"{self.files[shard.file].source.uri}, rows {shard.first_row} to "
                f"{shard.first_row + shard.rows - 1}: {deaths} workers died while they had them; "
                f"the last: {error}"
            ) from error

    def _tell_waiting(self) -> None:
        import ray

        LOG.warning(
            "waiting for a shard to be routed; asked for were %s, free: %s",
            self.places,
            ray.available_resources(),
        )

    def close(self) -> None:
        """End the actors."""
        import ray

        for worker in self.workers.values():
            ray.kill(worker)
        self.workers.clear()

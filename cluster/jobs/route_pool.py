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


@dataclass
class Actors:
    """Workers on Ray; one that dies is replaced, and its shards go to another."""

    routing: Routing
    files: list[SeenFile]
    store: Store
    places: Places
    workers: dict[int, Any] = field(default_factory=dict)
    policy: Policy | None = None
    started: int = 0

    def work(self, queue: Queue, *, step: Step) -> Iterator[ShardSummary]:
        """See `Pool.work`.

        Raises:
            EngineError: whoever gets a certain shard dies.
        """
        import ray

        tasks: dict[Any, tuple[int, Task]] = {}
        while len(self.workers) < self.places.workers:
            self._start()
        for _ in range(TASKS_IN_FLIGHT):
            for number in list(self.workers):
                self._give(number, queue=queue, tasks=tasks, step=step)
        while tasks:
            done, _ = ray.wait(list(tasks), num_returns=1, timeout=PATIENCE_SECONDS)
            if not done:
                self._tell_waiting()
                continue
            number, task = tasks.pop(done[0])
            try:
                summary: ShardSummary = ray.get(done[0])
            except ray.exceptions.RayActorError as error:
                self._put_back(task, queue=queue, error=error)
                queue.forget(number)
                number = self._replaced(number, error=error)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            else:
                yield summary
            self._give(number, queue=queue, tasks=tasks, step=step)

    def use(self, policy: Policy) -> None:
        """See `Pool.use`."""
        import ray

        self.policy = policy
        told = {number: worker.use.remote(policy) for number, worker in self.workers.items()}
        for number, answer in told.items():
            try:
                ray.get(answer)
            except ray.exceptions.RayActorError as error:
                self._replaced(number, error=error)

    def _give(
        self, number: int, *, queue: Queue, tasks: dict[Any, tuple[int, Task]], step: Step
    ) -> None:
        task = queue.take(number)
        if task is not None:
            tasks[getattr(self.workers[number], step).remote(task)] = (number, task)

    def _start(self) -> int:
        import ray

        kind = ray.remote(RouteWorker).options(**self.places.options())
        number, self.started = self.started, self.started + 1
        self.workers[number] = kind.remote(self.routing.spec, files=self.files, store=self.store)
        if self.policy is not None:
            self.workers[number].use.remote(self.policy)
        return number

    def _put_back(self, task: Task, *, queue: Queue, error: Exception) -> None:
        deaths, shard = queue.put_back(task), task.shard
        if deaths > MAX_DEATHS:
            raise EngineError(
                f"{self.files[shard.file].source.uri}, rows {shard.first_row} to "
                f"{shard.first_row + shard.rows - 1}: {deaths} workers died while they had them; "
                f"the last: {error}"
            ) from error

    def _replaced(self, number: int, *, error: Exception) -> int:
        """The number of the worker in a dead one's place."""
        if number not in self.workers:  # another of its tasks has told already
            return max(self.workers)
        del self.workers[number]
        LOG.warning("a worker died (%s); starting another", error)
        return self._start()

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

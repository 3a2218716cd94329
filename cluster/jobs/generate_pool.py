"""The Ray actors that generate: loaded with one candidate at a time, replaced when they die."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from cluster.candidate import Candidate, Resources
from cluster.errors import EngineError
from cluster.jobs.generate_worker import GenerateWorker, ShardReport
from cluster.lake.lake import Lake

LOG = logging.getLogger("signalbox.generate")
# A second shard waits at the worker while the first is answered, so that the engine never idles.
SHARDS_IN_FLIGHT = 2
# Workers that die (out of memory) are replaced this often each, and a shard that takes its worker
# along is handed out again as often. A node that is lost takes all of its workers at once.
MAX_RESTARTS = 3
PATIENCE_SECONDS = 30.0

# None: nothing for now, ask again once something that runs has ended.
Shards = Iterator[pl.DataFrame | None]


@dataclass(frozen=True)
class _Task:
    """What an actor was asked for: to answer a shard, or to load the candidate (no shard)."""

    actor: Any
    shard: pl.DataFrame | None = None


class _Queue:
    """Shards still to be given out; one that a dead actor held comes back to the front."""

    def __init__(self, shards: Shards) -> None:
        self.back: list[pl.DataFrame] = []
        self.shards = shards
        self.deaths: Counter[str] = Counter()

    def take(self) -> pl.DataFrame | None:
        return self.back.pop() if self.back else next(self.shards, None)

    def put_back(self, shard: pl.DataFrame) -> None:
        self.back.append(shard)

    def blame(self, shard: pl.DataFrame) -> int:
        """Put back a shard whose worker died; how often that has happened to it."""
        self.put_back(shard)
        first = str(shard["query_id"][0])  # a query is in one shard alone
        self.deaths[first] += 1
        return self.deaths[first]


class WorkerPool:
    """Up to `replicas` actors; those that are loaded work while others still wait for a place."""

    def __init__(self, *, lake: Lake) -> None:
        self.lake_uri = lake.storage.uri
        self.resources = Resources()
        self.actors: list[Any] = []
        self.tasks: dict[Any, _Task] = {}
        self.idle: list[Any] = []
        self.candidate = ""
        self.waits = False
        self.deaths = 0
        self.failure: Exception | None = None
        self.started = 0.0
        self.load_seconds = 0.0

    def answer(self, candidate: Candidate, shards: Shards) -> Iterator[ShardReport]:
        """Reports in the order of completion; nothing is loaded when there is no shard.

        Raises:
            EngineError: the candidate cannot be loaded, or its workers keep dying. What was being
                answered is waited for first: answers that are paid for are kept.
        """
        queue = _Queue(shards)
        self.load_seconds = 0.0
        first = queue.take()
        if first is None:
            return
        queue.put_back(first)
        self._begin(candidate)
        while self.tasks:
            report = self._next_report(queue)
            if report is not None:
                yield report
            self._wake(queue)
            if not any(task.shard is not None for task in self.tasks.values()):
                if self.failure is not None:
                    raise EngineError(str(self.failure)) from self.failure
                if (shard := queue.take()) is None:
                    break
                queue.put_back(shard)
        self.tasks.clear()

    def _begin(self, candidate: Candidate) -> None:
        """Ask as many actors as the candidate wants to load it."""
        if self.resources != candidate.resources:
            self.close()
        self.resources, self.candidate = candidate.resources, candidate.model_dump_json()
        self.waits = candidate.endpoint is not None
        self.tasks.clear()
        self.idle.clear()
        self.deaths, self.failure, self.started = 0, None, time.monotonic()
        missing = self.resources.replicas - len(self.actors)
        self.actors += [self._start() for _ in range(missing)]
        for actor in self.actors:
            self._load(actor)

    def _load(self, actor: Any) -> None:
        self.tasks[actor.load.remote(self.candidate)] = _Task(actor)

    def _next_report(self, queue: _Queue) -> ShardReport | None:
        """Wait for one task; None when it was no shard or did not succeed."""
        import ray

        done, _ = ray.wait(list(self.tasks), num_returns=1, timeout=PATIENCE_SECONDS)
        if not done:
            self._tell_waiting()
            return None
        task = self.tasks.pop(done[0])
        try:
            report = ray.get(done[0])
        except ray.exceptions.RayActorError as error:
            self._replace(task, queue=queue, error=error)
            return None
        except ray.exceptions.RayTaskError as error:
            self.failure = error.cause
            return None
        self._give(task, queue=queue)
        return report if isinstance(report, ShardReport) else None

    def _give(self, task: _Task, *, queue: _Queue) -> None:
        """The next shard to an actor that has answered one, the first two to one just loaded."""
        if task.shard is None:
            self.load_seconds = self.load_seconds or time.monotonic() - self.started
        for _ in range(SHARDS_IN_FLIGHT if task.shard is None else 1):
            self._ask(task.actor, queue=queue)

    def _ask(self, actor: Any, *, queue: _Queue) -> bool:
        """Give an actor a shard; False, and noted as idle, where there is none for now."""
        shard = None if self.failure is not None else queue.take()
        if shard is None:
            self.idle.append(actor)
            return False
        self.tasks[actor.answer.remote(shard)] = _Task(actor, shard)
        return True

    def _wake(self, queue: _Queue) -> None:
        """Ask the idle again: what was too dear may have been paid meanwhile."""
        idle, self.idle = [actor for actor in self.idle if actor in self.actors], []
        while idle and self._ask(idle.pop(), queue=queue):
            pass
        self.idle += idle

    def _replace(self, task: _Task, *, queue: _Queue, error: Exception) -> None:
        """Another actor in place of a dead one; its shards are answered again, if not written."""
        blamed = 0 if task.shard is None else queue.blame(task.shard)
        is_new = task.actor in self.actors  # else another of its tasks has told already
        if is_new:
            self.actors.remove(task.actor)
            self.deaths += 1
        if blamed > MAX_RESTARTS or self.deaths > MAX_RESTARTS * self.resources.replicas:
            times = max(blamed, self.deaths)
            self.failure = EngineError(f"its workers died {times} times; the last: {error}")
        elif is_new:
            LOG.warning("a worker died (%s); starting another", error)
            self.actors.append(self._start())
            self._load(self.actors[-1])

    def _tell_waiting(self) -> None:
        import ray

        loading = sum(task.shard is None for task in self.tasks.values())
        if loading == len(self.actors):
            LOG.warning(
                "waiting %.0f s for a place or for loading: a worker needs %s; free: %s",
                time.monotonic() - self.started,
                self._options(),
                ray.available_resources(),
            )

    def _start(self) -> Any:
        import ray

        return ray.remote(GenerateWorker).options(**self._options()).remote(self.lake_uri)

    def _options(self) -> dict[str, float]:
        gpus, cpus = self.resources.gpus, self.resources.cpus
        if cpus is None:
            cpus = 0 if gpus or self.waits else max(1, _cores() // self.resources.replicas)
        return {"num_cpus": cpus, "num_gpus": gpus}

    def close(self) -> None:
        """End the actors, and with them their engines."""
        import ray

        for actor in self.actors:
            ray.kill(actor)
        self.actors = []


def _cores() -> int:
    """Logical CPUs of the smallest node: Ray sets a worker's thread count to what it asks for."""
    import ray

    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min([cpus for cpus in nodes if cpus], default=1)))

"""The Ray actors that generate: loaded with one candidate at a time, replaced when they die."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import polars as pl

from cluster.candidate import Candidate
from cluster.errors import EngineError
from cluster.jobs.generate_worker import GenerateWorker, ShardReport
from cluster.lake.lake import Lake

LOG = logging.getLogger("signalbox.generate")
# A second shard waits at the worker while the first is answered, so that the engine never idles.
SHARDS_IN_FLIGHT = 2
# A worker that dies (out of memory, a killed node) is replaced this often per candidate.
MAX_RESTARTS = 3


class WorkerPool:
    """The Ray actors of a pool: loaded with one candidate at a time, replaced when they die."""

    def __init__(self, *, lake: Lake, first: Candidate) -> None:
        self.lake_uri = lake.storage.uri
        self.resources = first.resources
        self.actors: list[Any] = []
        self.loaded = ""
        self.load_seconds = 0.0

    def answer(self, candidate: Candidate, shards: Iterator[pl.DataFrame]) -> Iterator[ShardReport]:
        """Reports in the order of completion; nothing is loaded when there is no shard.

        Raises:
            EngineError: the candidate cannot be loaded, or its workers keep dying.
        """
        import ray

        self.load_seconds = 0.0
        running: dict[Any, tuple[Any, pl.DataFrame]] = {}
        deaths, failure = 0, None
        idle = self._slots(candidate) if (first := next(shards, None)) is not None else []
        waiting: list[pl.DataFrame] = [first] if first is not None else []
        while True:
            while idle and not failure and (shard := _next(waiting, shards)) is not None:
                actor = idle.pop(0)
                running[actor.answer.remote(shard)] = (actor, shard)
            if not running and failure:
                raise EngineError(str(failure.cause)) from failure
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            actor, shard = running.pop(done[0])
            try:
                report = ray.get(done[0])
            except ray.exceptions.RayActorError as error:
                deaths += 1
                waiting += [shard, *(late for _, late in running.values())]
                running, idle = {}, self._replace(candidate, deaths=deaths, error=error)
                continue
            except ray.exceptions.RayTaskError as error:  # raised once nothing runs any more
                failure = error
                continue
            idle.append(actor)
            yield report

    def _slots(self, candidate: Candidate) -> list[Any]:
        """Load the candidate everywhere; one slot for each shard an actor may hold."""
        import ray

        start = time.monotonic()
        if not self.actors:
            self.actors = [self._start() for _ in range(self.resources.replicas)]
        try:
            ray.get([actor.load.remote(candidate.model_dump_json()) for actor in self.actors])
        except ray.exceptions.RayTaskError as error:
            raise EngineError(str(error.cause)) from error
        except ray.exceptions.RayActorError as error:
            self.close()
            raise EngineError(f"its worker died while loading it ({error})") from error
        self.load_seconds = time.monotonic() - start
        return self.actors * SHARDS_IN_FLIGHT

    def _start(self) -> Any:
        import ray

        cpus = 0 if self.resources.gpus else _cores()
        options = {"num_cpus": cpus, "num_gpus": self.resources.gpus}
        return ray.remote(GenerateWorker).options(**options).remote(self.lake_uri)

    def _replace(self, candidate: Candidate, *, deaths: int, error: Exception) -> list[Any]:
        LOG.warning("%s: a worker died (%s); starting another", candidate.name, error)
        self.close()
        if deaths > MAX_RESTARTS:
            raise EngineError(f"its workers died {deaths} times; the last: {error}") from error
        return self._slots(candidate)

    def close(self) -> None:
        """End the actors, and with them their engines."""
        import ray

        for actor in self.actors:
            ray.kill(actor)
        self.actors = []


def _next(waiting: list[pl.DataFrame], shards: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
    return waiting.pop() if waiting else next(shards, None)


def _cores() -> int:
    """Logical CPUs of the smallest node: Ray sets a worker's thread count to what it asks for."""
    import ray

    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min([cpus for cpus in nodes if cpus], default=1)))

"""The Ray actors of scorers and taggers that hold a model, or work for long."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cluster.candidate import Resources
from cluster.errors import EngineError
from cluster.rewards.scorer import Scorer
from cluster.tags.tagger import Tagger

# Actors that die (out of memory, a killed node) are replaced this often each.
MAX_RESTARTS = 3
LOG = logging.getLogger("signalbox.label")


class LabelWorker:
    """An actor that opens a scorer or tagger once, and then works on one part after another."""

    def __init__(self, labeller: Scorer | Tagger) -> None:
        self.labeller = labeller
        self.stack = ExitStack()
        self.opened: Callable[[pl.DataFrame], Any] | None = None

    def load(self) -> int:
        """Open it, where it is not open yet; the process's id."""
        if self.opened is None:
            self.opened = self.stack.enter_context(self.labeller.open())
        return os.getpid()

    def work(self, part: pl.DataFrame) -> Any:
        """What it makes of a part."""
        assert self.opened is not None
        return self.opened(part)


def work_in_actors(
    labeller: Scorer | Tagger, *, parts: Iterable[pl.DataFrame], placement: Resources
) -> Iterator[Any]:
    """What a scorer or tagger makes of every part, in their order.

    Raises:
        EngineError: its actors keep dying.
        SignalboxError: it cannot be opened, or fails on a part.
    """
    crew = _Crew(labeller, placement)
    done: dict[int, Any] = {}
    try:
        for number, made in crew.work(deque(enumerate(parts))):
            done[number] = made
            while crew.told in done:
                crew.told += 1
                yield done.pop(crew.told - 1)
    finally:
        crew.close()


@dataclass(frozen=True)
class _Task:
    """What an actor was asked for: to work on a part, or to load (no part)."""

    actor: Any
    part: tuple[int, pl.DataFrame] | None = None


@dataclass
class _Crew:
    """The actors of one scorer or tagger.

    A part goes to an actor that is loaded: after a node's death there may be no place for the one
    that is started instead, and the others do its work.

    Attributes:
        told: parts that have been handed on.
    """

    labeller: Scorer | Tagger
    placement: Resources
    actors: list[Any] = field(default_factory=list)
    tasks: dict[Any, _Task] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    deaths: int = 0
    told: int = 0

    def work(self, parts: deque[tuple[int, pl.DataFrame]]) -> Iterator[tuple[int, Any]]:
        """Number of a part and what was made of it, in the order of completion."""
        import ray

        for _ in range(self.placement.replicas):
            self._start()
        while parts or any(task.part is not None for task in self.tasks.values()):
            (answer,), _ = ray.wait(list(self.tasks), num_returns=1)
            task = self.tasks.pop(answer)
            try:
                made = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayActorError as error:
                self._replace(task, parts=parts, error=error)
            else:
                self._give(task.actor, parts=parts)
                if task.part is not None:
                    yield task.part[0], made

    def _give(self, actor: Any, *, parts: deque[tuple[int, pl.DataFrame]]) -> None:
        """The next part; an actor for which there is none stays, should another die."""
        if parts:
            part = parts.popleft()
            self.tasks[actor.work.remote(part[1])] = _Task(actor, part)
        else:
            self.idle.append(actor)

    def _replace(
        self, task: _Task, *, parts: deque[tuple[int, pl.DataFrame]], error: Exception
    ) -> None:
        self.actors.remove(task.actor)
        self.deaths += 1
        if self.deaths > MAX_RESTARTS * self.placement.replicas:
            raise EngineError(
                f"{self.labeller.kind} '{self.labeller.name}': its workers keep dying: {error}"
            ) from error
        LOG.warning("a worker died (%s); starting another", error)
        if task.part is not None:
            parts.appendleft(task.part)
        self._start()
        if self.idle and parts:
            self._give(self.idle.pop(), parts=parts)

    def _start(self) -> None:
        import ray

        options = {"num_gpus": self.placement.gpus, "num_cpus": _cpus(self.placement)}
        actor = ray.remote(LabelWorker).options(**options).remote(self.labeller)
        self.actors.append(actor)
        self.tasks[actor.load.remote()] = _Task(actor)

    def close(self) -> None:
        """End the actors, and with them their models."""
        import ray

        for actor in self.actors:
            ray.kill(actor)


def _cpus(placement: Resources) -> float:
    """CPUs of an actor: Ray sets its number of threads to them, so without GPUs they are shared
    out, as among the workers of a candidate."""
    import ray

    if placement.cpus is not None:
        return placement.cpus
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    cores = min([cpus for cpus in nodes if cpus], default=1)
    return 0 if placement.gpus else max(1, int(cores) // placement.replicas)

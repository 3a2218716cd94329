"""The Ray actors of scorers and taggers that hold a model, or work for long."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import polars as pl

from cluster.candidate import Resources
from cluster.errors import EngineError
from cluster.rewards.scorer import Scorer
from cluster.tags.tagger import Tagger

# Actors that die (out of memory, a killed node) are started again this often each.
MAX_RESTARTS = 3


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
        """What it makes of a part; opened here once more after a restart."""
        self.load()
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
    import ray
    from ray.util import ActorPool

    kind = ray.remote(LabelWorker).options(
        num_gpus=placement.gpus,
        num_cpus=_cpus(placement),
        max_restarts=MAX_RESTARTS,
        max_task_retries=MAX_RESTARTS,
    )
    actors = [kind.remote(labeller) for _ in range(placement.replicas)]
    try:
        ray.get([actor.load.remote() for actor in actors])
        pool = ActorPool(actors)
        yield from pool.map(lambda actor, part: actor.work.remote(part), parts)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayActorError as error:
        raise EngineError(
            f"{labeller.kind} '{labeller.name}': its workers keep dying: {error}"
        ) from error
    finally:
        for actor in actors:
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

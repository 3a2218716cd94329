"""Several workers side by side."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from cluster.candidate import Resources
from cluster.rewards.bounded.worker import Bounds, Outcome, Worker

__all__ = ["Bounds", "Pool", "processors"]


def processors(resources: Resources) -> int:
    """How many processes an actor may keep busy: its CPUs, or the machine's."""
    return max(1, int(resources.cpus or len(os.sched_getaffinity(0))))


class Pool:
    """Runs a function `module:name` of JSON values on many inputs, each within bounds.

    A worker that breaks one is killed and replaced; the others go on. To be closed, or used as a
    context manager.
    """

    def __init__(self, target: str, *, bounds: Bounds, workers: int, warm: tuple[str, ...]) -> None:
        self.workers = [Worker(target, bounds=bounds, warm=warm) for _ in range(workers)]
        self.idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)

    def map(self, inputs: Sequence[tuple[str, ...]]) -> list[Outcome]:
        """What became of each input, in their order; equal inputs are worked on once."""
        distinct = list(dict.fromkeys(inputs))
        with ThreadPoolExecutor(len(self.workers)) as threads:
            outcomes = dict(zip(distinct, threads.map(self._run, distinct), strict=True))
        return [outcomes[given] for given in inputs]

    def _run(self, given: tuple[str, ...]) -> Outcome:
        worker = self.idle.get()
        try:
            return worker(*given)
        finally:
            self.idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.close()

"""Running pools of workers on what GPUs there are: the largest first, each as soon as it fits."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from cluster.packing import Gpus, Pool, waves

LOG = logging.getLogger("signalbox.generate")
T = TypeVar("T")


def run_pools(pools: Sequence[Pool], *, work: Callable[[Pool], T]) -> list[T]:
    """What `work` makes of every pool, in their order; those run at once that fit beside others.

    A pool that fits on no GPU of the cluster runs all the same: the cluster may grow.
    """
    gpus = Gpus(_gpus())
    tell(pools, gpus=len(gpus.free))
    done: dict[int, T] = {}
    running: dict[Future[T], tuple[int, dict[int, float]]] = {}
    waiting = dict(enumerate(pools))
    with ThreadPoolExecutor(max_workers=len(pools)) as threads:
        while waiting or running:
            for number, pool in list(waiting.items()):
                taken = gpus.take(pool) if pool.gpus else {}
                if taken is not None or not _ever_fits(pool, gpus=len(gpus.free)):
                    running[threads.submit(work, waiting.pop(number))] = (number, taken or {})
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                number, taken = running.pop(future)
                gpus.give_back(taken)
                done[number] = future.result()
    return [done[number] for number in range(len(pools))]


def tell(pools: Sequence[Pool], *, gpus: int) -> None:
    """Say what runs beside what, before anything does."""
    shown = waves(pools, gpus=gpus)
    for number, wave in enumerate(shown, start=1):
        turn = f"turn {number} of {len(shown)}, " if len(shown) > 1 else ""
        for pool in wave:
            LOG.info("plan: %s%s", turn, pool.words)


def _ever_fits(pool: Pool, *, gpus: int) -> bool:
    return Gpus(gpus).take(pool) is not None


def _gpus() -> int:
    """GPUs of the cluster."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))

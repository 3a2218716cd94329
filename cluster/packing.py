"""Which candidates run beside each other: a pool of workers for each model, packed onto the GPUs.

Candidates that need no GPU share one worker, which loads them in turn. Those that an endpoint
serves are all asked at once, each by a worker that does little but wait. Each of the others has a
pool of its own, and the largest get their GPUs first: what is left over suits the small ones, and
several that ask for a share of a GPU have one together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.candidate import Candidate

# Shares such as a third do not add up to exactly one.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Pool:
    """Candidates that share their workers, one after another.

    Attributes:
        candidates: in the order they run.
        gpus: of a worker; below 1 a share of one.
        replicas: workers there may be.
    """

    candidates: tuple[Candidate, ...]
    gpus: float = 0.0
    replicas: int = 1

    @property
    def words(self) -> str:
        """What the plan says of it."""
        names = ", ".join(candidate.name for candidate in self.candidates)
        endpoint = self.candidates[0].endpoint
        if endpoint is not None:
            return f"{names}: {endpoint.url}, {endpoint.concurrency} requests at a time"
        if not self.gpus:
            return f"{names}: no GPU" + (", in turn" if len(self.candidates) > 1 else "")
        each = f"{self.gpus:g} GPU" + ("s" if self.gpus > 1 else "")
        tensor = " (tensor parallel)" if self.gpus > 1 else ""
        return f"{names}: {self.replicas} × {each}{tensor}"


def pools_of(candidates: Sequence[Candidate]) -> list[Pool]:
    """The pools, those that need most GPUs a worker first, the one without a GPU last."""
    far = [Pool((candidate,)) for candidate in candidates if candidate.endpoint is not None]
    turns = tuple(
        candidate
        for candidate in candidates
        if not candidate.resources.gpus and candidate.endpoint is None
    )
    alone = [
        Pool((candidate,), candidate.resources.gpus, candidate.resources.replicas)
        for candidate in candidates
        if candidate.resources.gpus
    ]
    alone.sort(key=lambda pool: (-pool.gpus, -pool.replicas))
    return alone + far + ([Pool(turns)] if turns else [])


class Gpus:
    """What is free of each GPU, 0 to 1."""

    def __init__(self, count: int) -> None:
        self.free = [1.0] * count

    def take(self, pool: Pool) -> dict[int, float] | None:
        """Room for as many of the pool's workers as there is, one at least; else None.

        Returns:
            What is taken of which GPU.
        """
        taken: dict[int, float] = {}
        for replica in range(pool.replicas):
            places = self._places(pool.gpus)
            if places is None:
                return taken if replica else None
            for place in places:
                share = min(pool.gpus, 1.0)
                self.free[place] -= share
                taken[place] = taken.get(place, 0.0) + share
        return taken

    def _places(self, gpus: float) -> list[int] | None:
        """Which GPUs one worker gets: whole ones, or a share of the fullest that has room."""
        need = min(gpus, 1.0)
        fit = [place for place, free in enumerate(self.free) if free >= need - ROUNDING]
        fit.sort(key=lambda place: self.free[place])
        count = max(1, round(gpus))
        return fit[:count] if len(fit) >= count else None

    def give_back(self, taken: dict[int, float]) -> None:
        """Free what a pool had."""
        for place, share in taken.items():
            self.free[place] += share


def waves(pools: Sequence[Pool], *, gpus: int) -> list[list[Pool]]:
    """Which pools can run at once on so many GPUs, for the eye: each starts as soon as it fits.

    Pools that fit on no empty cluster are in a last wave of their own.
    """
    left, shown = list(pools), []
    while left:
        free = Gpus(gpus)
        wave = [pool for pool in left if not pool.gpus or free.take(pool) is not None]
        wave = wave or left
        shown.append(wave)
        left = [pool for pool in left if pool not in wave]
    return shown

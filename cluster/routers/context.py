"""Where a fit runs, what it may use and whom it tells how far it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.encoders.memory import VectorMemory
from cluster.state import State


def tell_nobody(note: dict[str, Any]) -> None:
    """Drop a note."""


@dataclass(frozen=True)
class FitContext:
    """What a fit is given beside outcomes and a seed; only `start` changes what is fitted.

    Attributes:
        workers: Ray Train workers of a method that trains by gradient; 0 trains in this process.
        gpus_per_worker: GPUs each of them holds.
        storage: folder, local or `s3://`, that training checkpoints are kept under while a worker,
            or a rerun of killed work, may have to resume from them; empty for a temporary folder.
        name: of the work, with the hash of its configuration and the dataset's version: Ray Train
            resumes by name, and a changed configuration under an old name would be taken for done.
        tell: called with a note of JSON values after an epoch: `method`, `epoch` of at most
            `epochs`, `step`, losses, score.
        memory: vectors of texts that a pretrained encoder has been asked for.
        start: state of an earlier router of the method, with the settings and the candidates of
            this one, that training by gradient goes on from; None begins anew.
    """

    workers: int = 0
    gpus_per_worker: float = 0.0
    storage: str = ""
    name: str = ""
    tell: Callable[[dict[str, Any]], None] = tell_nobody
    memory: VectorMemory = field(default_factory=VectorMemory)
    start: State | None = None


ALONE = FitContext()

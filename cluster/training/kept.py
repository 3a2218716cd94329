"""The last epoch of a training in this process, kept so that a killed run goes on from it."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cluster.routers.context import FitContext
from cluster.storage import Storage
from cluster.training.checkpoint import TRAINING, load_training, save_training
from cluster.training.examples import Examples
from cluster.training.loop import Progress
from cluster.training.network import Network
from cluster.training.plan import Plan, run_name

# What a killed run loses at most, beside the epoch in work. A head on vectors is trained in less,
# and writes nothing: 50 epochs of 0.3 s would spend more on keeping than on training.
SECONDS_APART = 60.0


@dataclass
class Kept:
    """Where an epoch is kept.

    Attributes:
        storage: the context's; None keeps nothing.
        uri: of the one object, named for everything that is trained.
        at: `time.monotonic()` of the last time.
    """

    storage: Storage | None
    uri: str = ""
    at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls, plan: Plan, *, train: Examples, validation: Examples, context: FitContext
    ) -> "Kept":
        """The place of one training; nowhere where the context has no storage."""
        if not context.storage:
            return cls(None)
        storage = Storage.at(context.storage)
        name = run_name(plan, name=context.name, workers=0, train=train, validation=validation)
        return cls(storage, storage.join(name, TRAINING))

    def keep(
        self, network: Network, *, optimizer: torch.optim.Optimizer, progress: Progress
    ) -> None:
        """Keep the epoch that has ended, if the last one kept was a while ago."""
        if self.storage is None or time.monotonic() - self.at < SECONDS_APART:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / TRAINING
            save_training(file, network=network, optimizer=optimizer, progress=progress)
            self.storage.write(self.uri, file.read_bytes())
        self.at = time.monotonic()

    def resume(self, network: Network, optimizer: torch.optim.Optimizer) -> Progress:
        """Where a run that was killed stood; the beginning where nothing is kept."""
        content = None if self.storage is None else self.storage.read_bytes_or_none(self.uri)
        if content is None:
            return Progress()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / TRAINING
            file.write_bytes(content)
            return load_training(file, network=network, optimizer=optimizer)

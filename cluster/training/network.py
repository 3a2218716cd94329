"""What the loop trains: a network that has a loss and can score the candidates."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cluster.training.batches import MicroBatch
from cluster.training.examples import ENDS, TOKENS, VECTORS, Arrays, Examples


@dataclass(frozen=True)
class Batch:
    """A micro-batch on the device.

    Attributes:
        inputs: `vectors` (n, d); or `tokens` (n, longest) padded with 0, and `mask` (n, longest).
        labels: the method's, each with n rows.
        seed: of what is drawn at random within the batch.
    """

    inputs: dict[str, Tensor]
    labels: dict[str, Tensor]
    seed: int = 0

    def generator(self) -> torch.Generator:
        """A generator of this batch alone, on the CPU."""
        return torch.Generator().manual_seed(self.seed)


class Network(nn.Module, ABC):
    """A method's network.

    Attributes:
        judged_by_loss: whether the best epoch is that of the least loss on validation, and not of
            the highest score: for what must order queries and not only choose a candidate.
    """

    judged_by_loss: bool = False

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The loss, a scalar: a mean over the rows of the batch.

        A sum that is divided by anything else, such as the number of known cells, would weigh rows
        by the company they keep, and accumulated gradients would not be those of the whole batch.
        """

    @abstractmethod
    def scores(self, batch: Batch) -> Tensor:
        """(n, n_candidates): the higher, the better the candidate is for the query."""

    def read(self, batch: Batch) -> Batch:
        """The batch with what loss and scores both need found once; it may be given to either."""
        return batch

    def is_pretrained(self, name: str) -> bool:  # noqa: ARG002 - no weight of a head is
        """Whether the weight of that name was there before, and has a learning rate of its own."""
        return False


def in_fp32(tensor: Tensor) -> Any:
    """A block whose arithmetic is not bf16, whatever is around it, on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def to_batch(examples: Examples, micro: MicroBatch, *, device: torch.device) -> Batch:
    """The rows of a micro-batch, padded to the longest of them."""
    rows = micro.rows
    labels = {name: torch.from_numpy(array[rows]) for name, array in examples.labels.items()}
    return Batch(
        inputs={k: v.to(device) for k, v in padded(examples.inputs, rows=rows).items()},
        labels={k: v.to(device) for k, v in labels.items()},
        seed=micro.seed,
    )


def padded(
    inputs: Arrays, *, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> dict[str, Tensor]:
    """The inputs of some rows as tensors."""
    if VECTORS in inputs:
        return {VECTORS: torch.from_numpy(inputs[VECTORS][rows])}
    ends = inputs[ENDS][rows].astype(np.int64)
    starts = np.where(rows > 0, inputs[ENDS][rows - 1].astype(np.int64), 0)
    place = starts[:, None] + np.arange(int((ends - starts).max(initial=1)))
    inside = place < ends[:, None]
    tokens = np.where(inside, inputs[TOKENS][np.minimum(place, len(inputs[TOKENS]) - 1)], 0)
    return {
        TOKENS: torch.from_numpy(tokens.astype(np.int64)),
        "mask": torch.from_numpy(inside.astype(np.int64)),
    }

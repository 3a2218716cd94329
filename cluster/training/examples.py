"""Rows to train on, as arrays that any worker can read: inputs, labels, rewards."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

Arrays = dict[str, npt.NDArray[np.generic]]

TOKENS, ENDS, VECTORS = "tokens", "ends", "vectors"


@dataclass(frozen=True)
class Examples:
    """Rows to train on or to validate on.

    Attributes:
        inputs: `vectors`, (n, d) float32, for a frozen encoder; or `tokens`, all rows' token ids
            one after the other, and `ends`, (n,), where each row's end.
        labels: what the method's loss compares with; each has n rows.
        reward: (n, n_candidates), NaN where missing: what a choice is worth.
        tasks: (n,) number of the row's task: choices are valued by the mean over tasks.
    """

    inputs: Arrays
    labels: Arrays
    reward: FloatMatrix
    tasks: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) tokens of each row; ones for vectors."""
        if TOKENS in self.inputs:
            return np.diff(self.inputs[ENDS].astype(np.int64), prepend=0)
        return np.ones(len(self), dtype=np.int64)

    def arrays(self, *, prefix: str) -> Arrays:
        """All of it under flat names, to be stored as safetensors."""
        parts = {"inputs": self.inputs, "labels": self.labels}
        flat = {f"{prefix}.{kind}.{k}": v for kind, part in parts.items() for k, v in part.items()}
        return {**flat, f"{prefix}.reward": self.reward, f"{prefix}.tasks": self.tasks}

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, prefix: str) -> "Examples":
        """The inverse of `arrays`."""

        def part(kind: str) -> Arrays:
            start = f"{prefix}.{kind}."
            return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}

        return cls(
            inputs=part("inputs"),
            labels=part("labels"),
            reward=arrays[f"{prefix}.reward"].astype(np.float64),
            tasks=arrays[f"{prefix}.tasks"].astype(np.int64),
        )


def examples_digest(*sides: Examples) -> str:
    """sha256 over everything a run trains and validates on."""
    content = hashlib.sha256()
    for place, side in enumerate(sides):
        for name, array in sorted(side.arrays(prefix=str(place)).items()):
            content.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def ragged(rows: list[list[int]]) -> Arrays:
    """`tokens` and `ends` of tokenised texts."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    tokens = np.fromiter((token for row in rows for token in row), dtype=np.int32)
    return {TOKENS: tokens, ENDS: np.cumsum(lengths)}

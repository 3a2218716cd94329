"""The part of a reward matrix in which candidates can be compared: no cell of it is missing."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.outcome import FloatMatrix
from cluster.quality.collected import Collected

# A candidate with less than half the rewards of the fullest one, such as a newcomer after its
# probes, would take most queries out of the comparison.
FULL = 0.5


@dataclass(frozen=True)
class Comparable:
    """Complete rows of those candidates that have been rewarded often enough.

    Attributes:
        rows: (n,), their places among the queries.
        columns: places among the candidates.
        candidates: names, (n_candidates,).
        left_out: names of the other candidates.
        reward: (n, n_candidates), without NaN.
        tasks: (n,).
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    candidates: tuple[str, ...]
    left_out: tuple[str, ...]
    reward: FloatMatrix
    tasks: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weights(self) -> FloatMatrix:
        """(n,): of each row in a mean over tasks; they sum to 1."""
        _, task, counts = np.unique(self.tasks, return_inverse=True, return_counts=True)
        return np.asarray(1 / (len(counts) * counts[task]), dtype=np.float64)

    @property
    def is_unit(self) -> bool:
        """Whether every reward is between 0 and 1."""
        return bool(((self.reward >= 0) & (self.reward <= 1)).all())

    @property
    def is_binary(self) -> bool:
        """Whether every reward is 0 or 1."""
        return bool(np.isin(self.reward, (0.0, 1.0)).all())


def comparable(found: Collected) -> Comparable:
    """The complete part; without a row where no query has a reward of all."""
    known = ~np.isnan(found.cells.reward)
    counts = known.sum(axis=0)
    kept = counts >= max(1.0, FULL * counts.max(initial=0))
    columns = np.flatnonzero(kept)
    rows = np.flatnonzero(known[:, kept].all(axis=1) & kept.any())
    names = pl.Series(found.candidates, dtype=pl.String)
    return Comparable(
        rows=rows,
        columns=columns,
        candidates=tuple(names.filter(pl.Series(kept))),
        left_out=tuple(names.filter(pl.Series(~kept))),
        reward=found.cells.reward[np.ix_(rows, columns)],
        tasks=found.tasks[rows],
    )

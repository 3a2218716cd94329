"""Which task a query belongs to, from its vector alone.

On RouterDC's data nearly all there is to gain is to know the task, so the table router leans on
this and not on the label, which no query has when it is routed.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cluster.encoders.encoder import Vectors
from cluster.outcome import FloatMatrix
from cluster.state import State

# Tasks with fewer rows are one task together: a boundary around three rows is noise.
MIN_TASK_ROWS = 10
OTHER = ""


@dataclass(frozen=True)
class TaskClassifier:
    """Ridge regression on the tasks' indicators; the highest wins.

    Attributes:
        tasks: names, in the order of the columns; `OTHER` stands for the rare ones.
        weights: (d + 1, n_tasks), the intercept in the last row.
    """

    tasks: tuple[str, ...]
    weights: FloatMatrix

    @classmethod
    def fit(cls, vectors: Vectors, tasks: npt.NDArray[np.str_], *, penalty: float = 0.1) -> Self:
        """`penalty`: added to the Gram matrix's diagonal, intercept excepted."""
        names, labels = np.unique(merge_rare(tasks), return_inverse=True)
        design = with_intercept(vectors)
        gram = design.T @ design
        gram[np.diag_indices(vectors.shape[1])] += penalty
        targets = design.T @ np.eye(len(names))[labels]
        weights = np.linalg.solve(gram, targets).astype(np.float64)
        return cls(tuple(names.tolist()), weights)

    def predict(self, vectors: Vectors) -> npt.NDArray[np.int64]:
        """(n,) index into `tasks`."""
        best: npt.NDArray[np.int64] = np.argmax(with_intercept(vectors) @ self.weights, axis=1)
        return best

    def state(self) -> State:
        """Names and weights."""
        return State({"tasks": list(self.tasks)}, {"weights": self.weights})

    @classmethod
    def from_state(cls, state: State, *, dimensions: int) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the weights do not fit the tasks or the vectors.
        """
        tasks = tuple(str(task) for task in state.value("tasks", list))
        return cls(tasks, state.tensor("weights", shape=(dimensions + 1, len(tasks))))


def merge_rare(tasks: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """(n,) the tasks, those with few rows renamed to `OTHER`."""
    _, labels, sizes = np.unique(tasks, return_inverse=True, return_counts=True)
    return np.where(sizes[labels] < MIN_TASK_ROWS, OTHER, tasks)


def with_intercept(vectors: npt.NDArray[Any]) -> FloatMatrix:
    """(n, d + 1) float64: a column of ones behind."""
    design = np.ones((len(vectors), vectors.shape[1] + 1))
    design[:, :-1] = vectors
    return design

"""One number learned from vectors, by ridge regression or from the nearest; paths over settings.

A path fits all settings at once, the most shrunk first, and says what each expects of vectors
that were left out of the fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cluster.encoders.encoder import Vectors
from cluster.errors import InputError
from cluster.outcome import FloatMatrix
from cluster.routers.knn import PAIRS_AT_ONCE, SAME_AS_NOTHING
from cluster.state import State, Tensors

# From nothing but the mean to weights that speak for themselves; vectors have norm 1.
NOTHING = float("inf")
PENALTIES = (NOTHING, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
# Neighbours, and how many of them the mean over everything counts as.
NEIGHBOURS = ((1, NOTHING), (320, 80.0), (160, 40.0), (80, 20.0), (40, 10.0))

# From vectors, their targets and other vectors to (n_settings, n_asked) expectations.
Path = Callable[[npt.NDArray[Any], FloatMatrix, npt.NDArray[Any]], FloatMatrix]


@dataclass(frozen=True)
class Ridge:
    """Ridge regression with an intercept that is not penalised.

    Attributes:
        weights: (d,).
        intercept: of vectors as they are.
    """

    weights: FloatMatrix
    intercept: float

    def score(self, vectors: npt.NDArray[Any]) -> FloatMatrix:
        """(n,) of (n, d)."""
        score: FloatMatrix = np.asarray(vectors, dtype=np.float64) @ self.weights + self.intercept
        return score

    def state(self) -> State:
        """Weights, the intercept behind them."""
        return State({}, {"weights": np.append(self.weights, self.intercept)})

    @classmethod
    def from_state(cls, state: State, *, dimensions: int) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the weights do not fit the vectors.
        """
        weights = state.tensor("weights", shape=(dimensions + 1,))
        return cls(weights[:-1], float(weights[-1]))


def ridges(
    vectors: npt.NDArray[Any], target: FloatMatrix, *, penalties: Sequence[float] = PENALTIES
) -> list[Ridge]:
    """One for each penalty, from a single eigendecomposition of the centred Gram matrix."""
    design = np.asarray(vectors, dtype=np.float64)
    centre, mean = design.mean(axis=0), float(target.mean())
    design = design - centre
    values, basis = np.linalg.eigh(design.T @ design)
    along = basis.T @ (design.T @ (target - mean))
    weights = [basis @ (along / (np.maximum(values, 0.0) + penalty)) for penalty in penalties]
    return [Ridge(each, mean - float(centre @ each)) for each in weights]


def ridge_path(
    vectors: npt.NDArray[Any], target: FloatMatrix, asked: npt.NDArray[Any]
) -> FloatMatrix:
    """(n_penalties, n_asked): what each of `PENALTIES` expects."""
    return np.stack([ridge.score(asked) for ridge in ridges(vectors, target)])


@dataclass(frozen=True)
class Neighbours:
    """The mean target of the nearest training rows, drawn towards that of all.

    Attributes:
        vectors: (n_train, d).
        target: (n_train,).
        k, shrinkage: an entry of `NEIGHBOURS`.
    """

    vectors: Vectors
    target: FloatMatrix
    k: int
    shrinkage: float

    def score(self, vectors: Vectors) -> FloatMatrix:
        """(n,) of (n, d)."""
        settings = ((self.k, self.shrinkage),)
        means = neighbour_means(self.vectors, self.target, vectors, settings=settings)
        score: FloatMatrix = means[0]
        return score

    def state(self) -> State:
        """Everything."""
        # Not as JSON, which has no word for infinity.
        shrinkage = np.array([self.shrinkage])
        tensors: Tensors = {"vectors": self.vectors, "target": self.target, "shrinkage": shrinkage}
        return State({"k": self.k}, tensors)

    @classmethod
    def from_state(cls, state: State, *, dimensions: int) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or does not fit the others.
        """
        vectors = state.tensor("vectors", shape=(None, dimensions))
        k, shrinkage = state.value("k", int), float(state.tensor("shrinkage", shape=(1,))[0])
        if k < 1 or not shrinkage > 0 or not len(vectors):
            raise InputError("damaged checkpoint: neighbours need k, shrinkage and rows above 0")
        return cls(vectors, state.tensor("target", shape=(len(vectors),)), k, shrinkage)


def neighbour_path(vectors: Vectors, target: FloatMatrix, asked: Vectors) -> FloatMatrix:
    """(n_settings, n_asked): what each of `NEIGHBOURS` expects."""
    return neighbour_means(vectors, target, asked, settings=NEIGHBOURS)


def neighbour_means(
    vectors: Vectors,
    target: FloatMatrix,
    asked: Vectors,
    *,
    settings: Sequence[tuple[int, float]],
) -> FloatMatrix:
    """(n_settings, n_asked): shrunk means of each asked vector's nearest, for each (k, shrinkage).

    Neighbours that share nothing with the query do not count.
    """
    most = min(max(k for k, _ in settings), len(vectors))
    prior = float(target.mean())
    rows = max(1, PAIRS_AT_ONCE // len(vectors))
    means = np.empty((len(settings), len(asked)))
    for start in range(0, len(asked), rows):
        similarity = asked[start : start + rows] @ vectors.T
        near = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
        closeness = np.take_along_axis(similarity, near, axis=1)
        order = np.argsort(-closeness, axis=1, kind="stable")
        counts = np.take_along_axis(closeness, order, axis=1) > SAME_AS_NOTHING
        values = np.where(counts, target[np.take_along_axis(near, order, axis=1)] - prior, 0.0)
        totals, numbers = values.cumsum(axis=1), counts.cumsum(axis=1)
        for place, (k, shrinkage) in enumerate(settings):
            last = min(k, most) - 1
            drawn = totals[:, last] / (numbers[:, last] + shrinkage)
            means[place, start : start + rows] = prior + drawn
    return means

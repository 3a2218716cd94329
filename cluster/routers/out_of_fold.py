"""Choosing settings on rows that were left out of the fit."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.folds import Folds
from cluster.outcome import FloatMatrix
from cluster.routers.means import indicator
from cluster.routers.one_target import Path


def held_out(folds: Folds) -> list[npt.NDArray[np.bool_]]:
    """Each fold's rows; none where everything is in one fold, and nothing can be left out."""
    numbers = np.unique(folds)
    return [folds == number for number in numbers] if len(numbers) > 1 else []


def out_of_fold(
    path: Path, vectors: npt.NDArray[Any], target: FloatMatrix, *, folds: Folds
) -> FloatMatrix:
    """(n_settings, n): what each setting expects of rows it has not seen.

    Beyond the mean of the rows it has seen: those means differ between folds against the rows
    left out, and would be noise in whatever compares rows of different folds.
    """
    first = path(vectors[:1], target[:1], vectors[:1])
    scores = np.full((len(first), len(target)), target.mean())
    for held in held_out(folds):
        found = path(vectors[~held], target[~held], vectors[held])
        scores[:, held] += found - target[~held].mean()
    return scores


def most_shrunk_near_best(errors: FloatMatrix, *, groups: npt.NDArray[np.int64]) -> int:
    """The first setting whose mean error is within one paired standard error of the least.

    `errors`: (n_settings, n), the most shrunk setting first. `groups`: (n,), rows that err
    together (those of a task) count as one draw.
    """
    shortfall = errors - errors[int(np.argmin(errors.mean(axis=1)))]
    mean = shortfall.mean(axis=1)
    apart = (shortfall - mean[:, None]).T
    together = indicator(groups, n_groups=int(groups.max()) + 1) @ apart
    error = np.sqrt((together**2).sum(axis=0)) / len(groups)
    return int(np.argmax(mean <= error))

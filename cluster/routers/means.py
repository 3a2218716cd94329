"""Means over what is known: cells without a value count for nothing, not for 0."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix


def indicator(groups: npt.NDArray[np.int64], *, n_groups: int) -> Any:
    """(n_groups, n) sparse: 1 where a row belongs to a group. Times a matrix, it sums groups."""
    ones = np.ones(len(groups))
    shape = (n_groups, len(groups))
    return sparse.csr_matrix((ones, (groups, np.arange(len(groups)))), shape=shape)


def shrunk_sums(
    values: FloatMatrix, groups: npt.NDArray[np.int64], *, n_groups: int, strength: float
) -> FloatMatrix:
    """(n_groups, n_columns): sum of each group's known values / (their number + strength)."""
    known = ~np.isnan(values)
    members = indicator(groups, n_groups=n_groups)
    sums = members @ np.where(known, values, 0.0)
    counts = members @ known.astype(np.float64)
    shrunk: FloatMatrix = np.divide(
        sums, counts + strength, out=np.zeros_like(sums), where=counts > 0
    )
    return shrunk


def group_means(
    values: FloatMatrix, groups: npt.NDArray[np.int64], *, n_groups: int
) -> FloatMatrix:
    """(n_groups, n_columns): mean of each group's known values; NaN where there is none."""
    known = indicator(groups, n_groups=n_groups) @ (~np.isnan(values)).astype(np.float64)
    return np.where(known > 0, shrunk_sums(values, groups, n_groups=n_groups, strength=0.0), np.nan)


def column_means(values: FloatMatrix) -> FloatMatrix:
    """(n_columns,): mean of the known values; NaN where there is none."""
    everyone = np.zeros(len(values), dtype=np.int64)
    mean: FloatMatrix = group_means(values, everyone, n_groups=1)[0]
    return mean


def shrunk_means(
    values: FloatMatrix, groups: npt.NDArray[np.int64], *, n_groups: int, strength: float
) -> FloatMatrix:
    """(n_groups, n_columns): the groups' means, drawn towards the mean over all groups.

    A group without a known value has that mean; a column without any is NaN.
    """
    centre = column_means(group_means(values, groups, n_groups=n_groups))
    return centre + shrunk_sums(values - centre, groups, n_groups=n_groups, strength=strength)


def task_means(
    values: FloatMatrix, tasks: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.str_], FloatMatrix]:
    """The tasks' names, sorted, and (n_tasks, n_columns) their means; NaN where unknown."""
    names, groups = np.unique(tasks, return_inverse=True)
    return names, group_means(values, groups, n_groups=len(names))


def macro_means(values: FloatMatrix, tasks: npt.NDArray[np.str_]) -> FloatMatrix:
    """(n_columns,): mean over tasks of the tasks' means, over the tasks where there is one."""
    return column_means(task_means(values, tasks)[1])


def require_rewards(outcomes: OutcomeMatrix) -> None:
    """Refuse what cannot be learnt from.

    Raises:
        InputError: no rows, or a candidate without a single reward.
    """
    if not len(outcomes):
        raise InputError("there are no training rows: collect or import outcomes first")
    unknown = np.flatnonzero(~outcomes.mask.any(axis=0))
    if len(unknown):
        raise InputError(
            f"candidate '{outcomes.candidates[unknown[0]]}' has no reward in any training row: "
            "collect its rewards, or leave the candidate out"
        )

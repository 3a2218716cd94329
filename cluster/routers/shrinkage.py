"""Empirical Bayes: how much of what was seen is signal, estimated from the data themselves.

Settings that are chosen on a few hundred validation rows are chosen by noise: on RouterDC's 530
the one-standard-error rule moved between the finest and the coarsest tables from seed to seed.
The strength of the shrinkage needs no choice: noise and signal have different variances, and both
can be measured on the rows that are fitted.

What separates candidates is shrunk apart from what makes a query hard for all of them. On
RouterDC's data the second is easy to learn (its ridge penalty comes out as 10) and moves no choice;
the first is hardly there at all (10,000 and more). One strength for both would follow the second,
and lost 0.6 to 1.0 points of the macro average in cross-validation on train.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix
from cluster.routers.means import indicator

# Ridge penalties looked at: vectors have norm 1, so beyond 10^6 no dataset that fits says anything.
PENALTIES = 10.0 ** np.arange(6.0, -2.01, -0.25)


@dataclass(frozen=True)
class Parts:
    """Values taken apart into what candidates have in common and what sets each apart.

    Attributes:
        common: (n_queries, 1), the mean over the candidates that are known; NaN where none is.
        own: (n_queries, n_candidates), what is left; NaN where unknown.
    """

    common: FloatMatrix
    own: FloatMatrix

    @classmethod
    def of(cls, values: FloatMatrix) -> Self:
        """Of (n_queries, n_candidates), NaN where unknown."""
        known = ~np.isnan(values)
        count = known.sum(axis=1, keepdims=True)
        total = np.where(known, values, 0.0).sum(axis=1, keepdims=True)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return cls(mean, values - mean)


def cluster_strength(
    values: FloatMatrix, groups: npt.NDArray[np.int64], *, n_groups: int
) -> FloatMatrix:
    """(n_columns,): rows at which a cluster's mean is as much signal as noise; inf without signal.

    The ratio of the variance within clusters to that of the clusters' true means, by the method of
    moments: sum over clusters of n·mean² is on average K·within + N·between, where values are
    residuals, so that the true means scatter around 0.
    """
    known = ~np.isnan(values)
    members = indicator(groups, n_groups=n_groups)
    filled = np.where(known, values, 0.0)
    count, total = members @ known.astype(np.float64), members @ filled
    explained = np.divide(total**2, count, out=np.zeros_like(total), where=count > 0).sum(axis=0)
    rows, clusters = known.sum(axis=0), (count > 0).sum(axis=0)
    spare = np.maximum(rows - clusters, 1)
    within = np.maximum((filled**2).sum(axis=0) - explained, 0.0) / spare
    between = (explained - clusters * within) / np.maximum(rows, 1)
    strength: FloatMatrix = np.divide(
        within, between, out=np.full(len(rows), np.inf), where=(between > 0) & (rows > clusters)
    )
    return strength


def table_values(
    values: FloatMatrix, groups: npt.NDArray[np.int64], *, n_groups: int
) -> FloatMatrix:
    """(n_groups, n_columns): what to expect of each cluster, each column shrunk by its strength."""
    known = ~np.isnan(values)
    members = indicator(groups, n_groups=n_groups)
    count = members @ known.astype(np.float64)
    total = members @ np.where(known, values, 0.0)
    strength = cluster_strength(values, groups, n_groups=n_groups)
    shrunk: FloatMatrix = np.divide(
        total, count + strength, out=np.zeros_like(total), where=count > 0
    )
    return shrunk


def evidence_penalty(target: FloatMatrix, *, along: FloatMatrix, spectrum: FloatMatrix) -> float:
    """The ridge penalty under which the targets are most likely; inf if 0 weights are.

    Marginal likelihood of `target` = design @ weights + noise, weights normal with the noise's
    variance / penalty (MacKay, "Bayesian interpolation", 1992, section 3), the noise's variance at
    its maximum.

    Args:
        target: (n,), with mean 0.
        along: (d,), basis.T @ design.T @ target.
        spectrum, basis: eigenvalues, (d,), and eigenvectors of design.T @ design.
    """
    penalty = np.asarray(PENALTIES)[:, None]
    square, n = float(target @ target), len(target)
    left = square - (along**2 / (spectrum + penalty)).sum(axis=1)
    # Targets that are explained to the last digit leave nothing but rounding.
    left = np.maximum(left, 1e-12 * max(square, 1e-300))
    likelihood = -0.5 * (np.log1p(spectrum / penalty).sum(axis=1) + n * np.log(left))
    nothing = -0.5 * n * np.log(max(square, 1e-300))
    best = int(np.argmax(likelihood))
    return float(PENALTIES[best]) if likelihood[best] > nothing else float("inf")

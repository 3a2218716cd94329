"""The population stability index, and how high it gets by chance alone.

PSI = Σ (p − q) · ln(p / q) over clusters, q the shares of the training queries, p the file's. It is
never 0, even where both are drawn from one population: Yurdakul and Naranjo ("Statistical
properties of the population stability index", Journal of Risk Model Validation 14(4), 2020) show
that it is then distributed as (1/n + 1/N) · χ² with one degree of freedom less than clusters. So
its expectation is known, and what it exceeds once in a thousand files.
"""

import numpy as np

from cluster.outcome import FloatMatrix

# Added to every cluster's count, so that an empty one has a logarithm.
HALF = 0.5


def stability_parts(
    first: FloatMatrix, *, second: FloatMatrix, n_first: float, n_second: float
) -> FloatMatrix:
    """(n_clusters,) what each cluster adds to the PSI of two lists of shares; none is below 0.

    Args:
        first, second: shares, each of sum 1.
        n_first, n_second: how many queries are behind them.
    """
    p, q = smoothed(first, n=n_first), smoothed(second, n=n_second)
    return np.asarray((p - q) * np.log(p / q))


def smoothed(shares: FloatMatrix, *, n: float) -> FloatMatrix:
    """(n_clusters,) the shares with half a query more in each cluster."""
    return np.asarray((shares * n + HALF) / (n + HALF * len(shares)))


def expected_by_chance(n_clusters: int, *, n_first: float, n_second: float) -> float:
    """Mean of PSI where both are drawn from one population."""
    return (n_clusters - 1) * (1 / n_first + 1 / n_second)


def limit_by_chance(n_clusters: int, *, n_first: float, n_second: float, level: float) -> float:
    """What PSI of two draws from one population exceeds with probability `level`."""
    from scipy.stats import chi2

    if n_clusters < 2:
        return 0.0
    return float(chi2.isf(level, n_clusters - 1) * (1 / n_first + 1 / n_second))

"""Queries that lie farther from all training queries than nearly all of these lie.

The distance is the one that `rank` of N held-out training queries reach. Where a file's queries are
drawn like them, the number of n beyond it is beta-binomial with parameters rank and N + 1 − rank,
whatever the distances' distribution (the coverage of an order statistic; Wilks 1941).
"""


def expected_share(rank: float, *, n_train: float) -> float:
    """Share of new queries expected beyond the distance."""
    return rank / (n_train + 1)


def limit_share(rank: float, *, n_train: float, n: float, level: float) -> float:
    """What the share of n new queries of the same population exceeds with probability `level`."""
    from scipy.stats import betabinom

    draws = max(1, round(n))
    return float(betabinom.isf(level, draws, rank, n_train + 1 - rank) / draws)

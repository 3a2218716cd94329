"""Drawing queries with probabilities that are known, evenly over an order.

Systematic sampling with unequal probabilities (Madow 1949): the probabilities are laid end to end,
and a comb with teeth one apart is put on them at a random place. Each query is hit with just its
probability, the number drawn is fixed, and neighbours in the order are hardly drawn together: an
order by cluster spreads the draw over the clusters.
"""

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

DIGITS = 9
Rows = npt.NDArray[np.int64]


def inclusion(weights: FloatMatrix, *, size: int) -> FloatMatrix:
    """(n,) probabilities in [0, 1] in proportion to the weights, as far as 1 allows; sum `size`.

    Args:
        weights: (n,), at least 0; with too few above 0 the others share what is left evenly.
        size: how many to draw; all of them where there are not more.
    """
    if size >= len(weights):
        return np.ones(len(weights))
    probability = np.zeros(len(weights))
    certain = np.zeros(len(weights), dtype=bool)
    while True:
        left = size - certain.sum()
        rest = np.where(certain, 0.0, weights)
        if rest.sum() <= 0:
            rest = np.where(certain, 0.0, 1.0)
        probability = np.where(certain, 1.0, left * rest / rest.sum())
        over = probability > 1.0
        if not over.any():
            return probability
        certain |= over


def systematic(probability: FloatMatrix, *, order: Rows, offset: float) -> Rows:
    """Positions that are drawn, ascending.

    Args:
        probability: (n,), each in [0, 1].
        order: (n,) positions, in the order in which the probabilities are laid end to end.
        offset: where the comb begins, in [0, 1).
    """
    # Sums of many probabilities miss whole numbers by some 1e-12, and a tooth may stand on one.
    ends = np.round(np.cumsum(probability[order]), DIGITS)
    starts = np.concatenate([[0.0], ends[:-1]])
    place = np.floor(offset * 10**DIGITS) / 10**DIGITS
    hit = np.floor(ends + place) > np.floor(starts + place)
    return np.sort(order[hit])

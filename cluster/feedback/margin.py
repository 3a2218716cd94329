"""How sure a router is of who is best: the gap between the two highest predictions of a row."""

import numpy as np

from cluster.outcome import BoolMatrix, FloatMatrix


def margins(reward: FloatMatrix, *, allowed: BoolMatrix | None = None) -> FloatMatrix:
    """(n_queries,) predicted reward of the best candidate minus that of the second; at least 0.

    It is the router's own doubt and not a policy's: whatever a policy does with two predictions
    that are as good as equal, it is their order that a label would settle. Infinite where only one
    candidate is known and allowed.

    Args:
        reward: (n_queries, n_candidates), NaN where unknown.
        allowed: (n_candidates,) or (n_queries, n_candidates); None where all are.
    """
    usable = ~np.isnan(reward) if allowed is None else ~np.isnan(reward) & allowed
    values = np.sort(np.where(usable, reward, -np.inf), axis=1)
    gap = np.full(len(reward), np.inf)
    if reward.shape[1] < 2:
        return gap
    both = np.isfinite(values[:, -2])
    gap[both] = values[both, -1] - values[both, -2]
    return gap

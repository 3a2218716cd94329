"""Who a cascade is expected to ask, by what the queries alone promise."""

import numpy as np
import polars as pl

from cluster.outcome import BoolMatrix
from cluster.policies.cascade import NOBODY, Cascade
from cluster.policies.policy import Choices
from cluster.routing.score import Scores


def expected_path(
    texts: pl.Series, *, scores: Scores, policy: Cascade
) -> tuple[Choices, BoolMatrix]:
    """(n_rows,) who is asked first, and (n_rows, n_candidates) everybody who will be asked if
    answers turn out as good as expected before there is one.

    Args:
        texts: (n_rows,) the queries.
        scores: what is expected of them.
        policy: settled.
    """
    prediction, cost, allowed = scores.prediction, scores.cost, scores.allowed
    first = policy.first(prediction, cost=cost, allowed=allowed)
    path = np.zeros(prediction.reward.shape, dtype=bool)
    rows, column = np.arange(len(first)), first.copy()
    while rows.size:
        path[rows, column[rows]] = True
        good = policy.accepts(prediction, columns=np.maximum(column, 0), texts=texts)
        after = policy.following(
            prediction, columns=np.maximum(column, 0), cost=cost, allowed=allowed
        )
        column = np.where((column == NOBODY) | good, NOBODY, after)
        rows = np.flatnonzero(column != NOBODY)
    return first, path

"""What is expected of labels before they come: a champion's prediction, or earlier means."""

from collections.abc import Mapping, Sequence

import numpy as np

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.means import column_means, task_means
from cluster.routers.router import Router


def by_router(router: Router, *, ids: Sequence[str], outcomes: OutcomeMatrix) -> FloatMatrix:
    """(n_queries, n_candidates): what a router predicts; NaN for candidates it does not know.

    Args:
        router: the champion.
        ids: candidate_ids of its candidates, in their order.
        outcomes: the queries, and the candidates in their order.
    """
    said = router.predict(outcomes.texts).reward
    return columns_of(said, ids=ids, wanted=outcomes.candidate_ids)


def by_task(earlier: OutcomeMatrix, *, outcomes: OutcomeMatrix) -> FloatMatrix:
    """(n_queries, n_candidates): the mean of the query's task in earlier labels, and the mean over
    all tasks where it has none; NaN for candidates without an earlier label."""
    if not len(earlier):
        return np.full(outcomes.reward.shape, np.nan)
    names, means = task_means(earlier.reward, earlier.tasks)
    everywhere = column_means(means)
    table = np.vstack([np.where(np.isnan(means), everywhere, means), everywhere])
    place: Mapping[str, int] = {name: row for row, name in enumerate(names.tolist())}
    rows = [place.get(task, len(names)) for task in outcomes.tasks.tolist()]
    return columns_of(table[rows], ids=earlier.candidate_ids, wanted=outcomes.candidate_ids)


def columns_of(values: FloatMatrix, *, ids: Sequence[str], wanted: Sequence[str]) -> FloatMatrix:
    """(n, n_wanted): the columns of candidates, by their ids; NaN for those that are not there."""
    place = {key: column for column, key in enumerate(ids)}
    nothing = np.full(len(values), np.nan)
    return np.column_stack([values[:, place[key]] if key in place else nothing for key in wanted])

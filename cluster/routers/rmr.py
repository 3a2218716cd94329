"""A baseline that runs every candidate: reward-model ranking (RMR).

All candidates answer, a reward model scores the answers, and the answer it likes best is kept
(ZOOTER, NAACL 2024, arXiv 2311.08692). Costly, and no upper bound: there it loses to a single
candidate on MMLU, GSM8K and HumanEval (38.6 against 44.2). Not a router: a query to be routed has
no answers yet.
"""

import numpy as np

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix


def route(ranking: OutcomeMatrix, test: OutcomeMatrix) -> FloatMatrix:
    """(n_test, n_candidates): all on the candidate that `ranking` scores highest; equals share.

    Args:
        ranking: outcomes by the reward model that chooses, with the same queries and candidates,
            in any order.
        test: outcomes by the scorer that is measured with.

    Raises:
        InputError: a candidate or a query of `test` without a score in `ranking`.
    """
    score = aligned(ranking, test)
    best = score == score.max(axis=1, keepdims=True)
    shares: FloatMatrix = best / best.sum(axis=1, keepdims=True)
    return shares


def aligned(ranking: OutcomeMatrix, test: OutcomeMatrix) -> FloatMatrix:
    """(n_test, n_candidates): the scores of `ranking`, -inf for an answer without one.

    Raises:
        InputError: as `route`.
    """
    missing = [name for name in test.candidates if name not in ranking.candidates]
    if missing:
        raise InputError(
            f"the scorer that ranks has no score of candidate '{missing[0]}': score its answers "
            "with it, or leave the candidate out"
        )
    place = {query: row for row, query in enumerate(ranking.queries["query_id"])}
    rows = np.array([place.get(query, -1) for query in test.queries["query_id"]], dtype=np.int64)
    columns = [ranking.candidates.index(name) for name in test.candidates]
    score = np.full(test.reward.shape, np.nan)
    score[rows >= 0] = ranking.reward[rows[rows >= 0]][:, columns]
    unknown = np.flatnonzero(np.isnan(score).all(axis=1))
    if len(unknown):
        query = test.queries["query_id"][int(unknown[0])]
        raise InputError(
            f"the scorer that ranks has no score of query '{query}' "
            f"and {len(unknown) - 1} others: score their answers with it first"
        )
    return np.where(np.isnan(score), -np.inf, score)

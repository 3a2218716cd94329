"""What a router is held against, as route matrices.

A route matrix is (n_queries, n_candidates): the probability that a method sends a query to a
candidate; rows sum to 1. A choice is one-hot; a lottery is its exact expectation, without draws.
"""

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers import best_single, rmr, task_lookup, voting
from cluster.routers.means import column_means, task_means

RANDOM = "random"
BEST_SINGLE = "best_single"
TASK_LOOKUP = "task_lookup"
ORACLE = "oracle"
# Always reported, and reserved names.
BASELINES = (RANDOM, BEST_SINGLE, TASK_LOOKUP, ORACLE)
VOTING = "voting"
RMR = "rmr"
# Run every candidate and choose among the answers; reported where the outcomes allow it.
READING_BASELINES = (VOTING, RMR)
PROMPT_LENGTH = "prompt_length"
# Methods that are fitted like any other, and that a learned router must beat.
FITTED_BASELINES = ("predicted_task", PROMPT_LENGTH, "cosine_classifier", "lora_retriever")
ALL_BASELINES = (RANDOM, BEST_SINGLE, TASK_LOOKUP, *FITTED_BASELINES, *READING_BASELINES, ORACLE)
COST_MATCHED_MIX = "cost_matched_mix"
CANDIDATE = "candidate:"

# Two means of the same costs, summed in another order, may differ in the last digits.
COST_TOLERANCE = 1e-9


def one_hot(choices: npt.NDArray[np.int64], *, n_candidates: int) -> FloatMatrix:
    """(n, n_candidates) route matrix of (n,) chosen columns."""
    route: FloatMatrix = np.eye(n_candidates)[choices]
    return route


def constant(shares: FloatMatrix, *, n_queries: int) -> FloatMatrix:
    """(n_queries, n_candidates): the same shares, (n_candidates,), for every query."""
    return np.broadcast_to(shares, (n_queries, len(shares)))


def candidate_routes(test: OutcomeMatrix) -> dict[str, FloatMatrix]:
    """Every candidate alone, as `candidate:<name>`."""
    alone = np.eye(len(test.candidates))
    return {
        f"{CANDIDATE}{name}": constant(alone[column], n_queries=len(test))
        for column, name in enumerate(test.candidates)
    }


def random_route(test: OutcomeMatrix) -> FloatMatrix:
    """Every candidate with equal probability."""
    even = np.full(len(test.candidates), 1 / len(test.candidates))
    return constant(even, n_queries=len(test))


def best_single_route(train: OutcomeMatrix, test: OutcomeMatrix) -> FloatMatrix:
    """Always the candidate with the highest macro mean reward on train."""
    return one_hot(best_single.choose(train, test), n_candidates=len(test.candidates))


def task_lookup_route(train: OutcomeMatrix, test: OutcomeMatrix) -> FloatMatrix:
    """Each task's best candidate on train; best single for a task train does not have."""
    return one_hot(task_lookup.choose(train, test), n_candidates=len(test.candidates))


def task_rewards(train: OutcomeMatrix, test: OutcomeMatrix) -> FloatMatrix:
    """(n_test, n_candidates): what `task_lookup` expects, the means of the query's task on train.

    The means over all rows where train does not have the task, or no reward of the candidate on
    it: what is counted over queries is compared with these.
    """
    names, means = task_means(train.reward, train.tasks)
    everywhere = column_means(train.reward)
    known = np.vstack([np.where(np.isnan(means), everywhere, means), everywhere])
    place = np.minimum(np.searchsorted(names, test.tasks), len(names) - 1)
    expected: FloatMatrix = known[np.where(names[place] == test.tasks, place, len(names))]
    return expected


def voting_route(test: OutcomeMatrix) -> FloatMatrix | None:
    """Who gave the answer that most candidates gave; None where there are no answers.

    Two candidates cannot outvote each other: a vote takes three.
    """
    if test.answers is None or len(test.candidates) < 3:
        return None
    missing = [name for name in test.candidates if name not in test.answers.columns]
    answers = None if missing else test.answers.select(test.candidates)
    if answers is None or answers.null_count().row(0) == (len(test),) * len(test.candidates):
        return None
    return voting.route(answers)


def rmr_route(ranking: OutcomeMatrix | None, test: OutcomeMatrix) -> FloatMatrix | None:
    """The answer another scorer likes best; None where none was given.

    Raises:
        InputError: `ranking` lacks a candidate or a query of `test`.
    """
    return None if ranking is None else rmr.route(ranking, test)


def oracle_route(test: OutcomeMatrix, *, cost: FloatMatrix) -> FloatMatrix:
    """Each query's best candidate, read from the test rewards themselves.

    Of equally good ones the cheapest, where the costs of all are known; what is still equal
    shares the query evenly. With few samples a reward is partly luck, and this picks the lucky.
    """
    best = test.reward == test.reward.max(axis=1, keepdims=True)
    price = np.where(best, cost, np.inf)
    cheapest = best & (price == price.min(axis=1, keepdims=True))
    known = ~np.isnan(cost).any(axis=1, keepdims=True)
    chosen = np.where(known, cheapest, best).astype(np.float64)
    shared: FloatMatrix = chosen / chosen.sum(axis=1, keepdims=True)
    return shared


def cost_matched_mix(budget_usd: float, *, reward: FloatMatrix, cost: FloatMatrix) -> FloatMatrix:
    """(n_candidates,): the best lottery of single candidates that costs no more than a budget.

    What anybody gets for the same money without looking at the query. The best lottery under one
    budget has at most two members, so all pairs are tried: they trace the upper hull of the
    candidates. Where more money buys nothing, less is spent; below the cheapest, the cheapest.

    Args:
        budget_usd: mean USD per query, of the method it is matched to.
        reward: (n_candidates,), mean reward, known before the test (on train).
        cost: (n_candidates,), mean USD per query.
    """
    budget = budget_usd * (1 + COST_TOLERANCE)
    alone: FloatMatrix = np.eye(len(cost))
    affordable = np.flatnonzero(cost <= budget)
    if not len(affordable):
        affordable = np.lexsort((-reward, cost))[:1]
        budget = np.inf
    lotteries = [alone[single] for single in affordable]
    for cheap in affordable:
        for dear in np.flatnonzero(cost > budget):
            share = (budget_usd - cost[cheap]) / (cost[dear] - cost[cheap])
            shares = np.zeros(len(cost))
            shares[[cheap, dear]] = 1 - max(share, 0.0), max(share, 0.0)
            lotteries.append(shares)
    order = [(-float(shares @ reward), float(shares @ cost)) for shares in lotteries]
    best: FloatMatrix = lotteries[min(range(len(order)), key=lambda place: order[place])]
    return best


def frontier(*, reward: FloatMatrix, cost: FloatMatrix) -> list[int]:
    """Columns of the candidates no lottery of the same cost beats, the cheapest first."""
    alone = [
        column
        for column, usd in enumerate(cost)
        if cost_matched_mix(float(usd), reward=reward, cost=cost)[column] == 1
    ]
    return sorted(alone, key=lambda column: float(cost[column]))

"""What a router's choices are worth on queries it has not seen: what settings are chosen by.

    router for all candidates:   reward of the candidate expected to be best
    for a strong/weak pair:      r_weak(q) + (r_strong(q) − r_weak(q)) · (1 − u(q))

with u(q) the share of queries that would go to the strong candidate before q does. Its mean is the
mean reward over all shares of strong calls, which rises and falls with APGR. The strong candidate
is expected to be better nearly everywhere, so what the choice of the better one earns is the same
for any order of the queries, a random one included; and the order is what a pair is learned for.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.router import Method, Router

# First axis of what `worth` gives.
JUDGED, EARNED = 0, 1


def worth(settings: Method, router: Router, outcomes: OutcomeMatrix) -> FloatMatrix:
    """(2, n_queries): what settings are compared by, and what the choices earn.

    The same but for a method that was fitted for a strong/weak pair, on queries with both rewards.
    """
    earned = chosen_reward(router, outcomes)
    if not for_pair(settings, router):
        return np.stack([earned, earned])
    over_budgets = reward_over_budgets(router, outcomes)
    # Without a query that knows both there is no order to be judged.
    judged = earned if np.isnan(over_budgets).all() else over_budgets
    return np.stack([judged, earned])


def for_pair(settings: Method, router: Router) -> bool:
    """Whether a strong and a weak candidate is what a router of this method decides between."""
    return len(router.candidates) == 2 and {"strong", "weak"} <= type(settings).model_fields.keys()


def chosen_reward(router: Router, outcomes: OutcomeMatrix) -> npt.NDArray[np.float64]:
    """(n_queries,): reward of the candidate expected to be best, among those with a reward.

    The router may know some of the candidates, in any order; NaN where it knows none with a reward.
    """
    columns = [outcomes.candidates.index(name) for name in router.candidates]
    expected = np.where(outcomes.mask[:, columns], router.predict(outcomes.texts).reward, -np.inf)
    choice = np.asarray(columns)[np.argmax(expected, axis=1)]
    reward: npt.NDArray[np.float64] = outcomes.reward[np.arange(len(outcomes)), choice]
    return reward


def reward_over_budgets(router: Router, outcomes: OutcomeMatrix) -> npt.NDArray[np.float64]:
    """(n_queries,): each query's reward, averaged over all shares of calls to the first candidate.

    Of equal scores all go at the same share. NaN where one of the two rewards is missing. Which of
    the two is the strong one makes no difference.
    """
    columns = [outcomes.candidates.index(name) for name in router.candidates]
    first, second = outcomes.reward[:, columns].T
    expected = router.predict(outcomes.texts).reward
    known = ~np.isnan(first) & ~np.isnan(second)
    values = np.full(len(outcomes), np.nan)
    if known.any():
        before = (rankdata(expected[known, 1] - expected[known, 0]) - 0.5) / known.sum()
        values[known] = second[known] + (first[known] - second[known]) * (1 - before)
    return values

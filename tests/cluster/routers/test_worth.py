from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.routers.bert import Bert
from cluster.routers.best_single import BestSingle, BestSingleRouter
from cluster.routers.fit import fit_method
from cluster.routers.router import Prediction, Router
from cluster.routers.worth import EARNED, JUDGED, chosen_reward, reward_over_budgets, worth

NAN = float("nan")


class Scores(Router):
    """Says what it is told of a pair: how far the first is ahead on each query."""

    method: ClassVar[str] = "scores"

    def __init__(self, candidates, ahead):
        self.candidates, self.ahead = candidates, np.asarray(ahead, dtype=float)

    def predict(self, texts: pl.Series) -> Prediction:
        reward = np.column_stack([self.ahead, np.zeros(len(self.ahead))])
        return Prediction(reward, np.full(reward.shape, NAN))

    def state(self):
        raise NotImplementedError

    @classmethod
    def from_state(cls, state, *, candidates):
        raise NotImplementedError


def pair_of(make_outcomes, rows):
    outcomes = make_outcomes([str(n) for n in range(len(rows))], ["t"] * len(rows), rows)
    return outcomes, outcomes.candidates


def test_a_choice_is_valued_by_name_where_a_router_knows_some(make_outcomes):
    outcomes = make_outcomes(
        ["one", "two", "three"], ["t"] * 3, [[0.1, 0.2, 0.3], [0.4, NAN, 0.6], [0.7, NAN, NAN]]
    )
    mean = np.array([0.9, 0.8])
    router = BestSingleRouter(("roman", "both"), reward=mean, completion_tokens=mean)
    assert np.array_equal(chosen_reward(router, outcomes), [0.2, 0.6, NAN], equal_nan=True)


def test_a_pair_is_judged_by_its_order_at_every_share_of_strong_calls(make_outcomes):
    """By hand: with k of 4 queries sent to the strong one, mean reward, averaged over the cuts."""
    rows = [[1, 0], [1, 0], [1, 1], [0, 0]]
    outcomes, names = pair_of(make_outcomes, rows)
    right, wrong = Scores(names, [4, 3, 2, 1]), Scores(names, [1, 2, 3, 4])

    def by_cuts(order):
        # Trapezoids between the cuts.
        total = [sum(rows[q][0 if q in order[:k] else 1] for q in range(4)) / 4 for k in range(5)]
        return (sum(total) - (total[0] + total[-1]) / 2) / 4

    for router, order in ((right, [0, 1, 2, 3]), (wrong, [3, 2, 1, 0])):
        assert reward_over_budgets(router, outcomes).mean() == pytest.approx(by_cuts(order))


def test_equal_scores_are_a_lottery_whatever_they_are(make_outcomes):
    outcomes, names = pair_of(make_outcomes, [[1, 0], [0, 1], [1, 1], [0.5, 0]])
    found = reward_over_budgets(Scores(names, [7, 7, 7, 7]), outcomes)
    assert found == pytest.approx([0.5, 0.5, 1.0, 0.25])


def test_a_missing_reward_leaves_the_query_out(make_outcomes):
    outcomes, names = pair_of(make_outcomes, [[1, NAN], [1, 0], [0, 0]])
    found = reward_over_budgets(Scores(names, [1, 2, 3]), outcomes)
    assert np.isnan(found).tolist() == [True, False, False]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2, st.integers(-3, 3)), min_size=1, max_size=20))
def test_which_of_the_two_is_named_first_makes_no_difference(rows):
    from dataclasses import replace

    from cluster.outcome import OutcomeMatrix

    n = len(rows)
    values = np.array([row[:2] for row in rows])
    unknown = np.full((n, 2), NAN)
    queries = pl.DataFrame({"query_id": [str(k) for k in range(n)], "text": ["x"] * n})
    outcomes = OutcomeMatrix(
        queries, ("s", "w"), ("s", "w"), values, *(unknown,) * 3, np.ones((n, 2)), unknown
    )
    turned = replace(outcomes, candidates=("w", "s"), reward=values[:, ::-1].copy())
    ahead = np.array([row[2] for row in rows], dtype=float)
    one = reward_over_budgets(Scores(("s", "w"), ahead), outcomes)
    other = reward_over_budgets(Scores(("w", "s"), -ahead), turned)
    assert one == pytest.approx(other)


def test_only_what_is_fitted_for_a_pair_is_judged_by_order(make_outcomes):
    outcomes, names = pair_of(make_outcomes, [[1, 0], [1, 0.5]])
    router = Scores(names, [1, 2])
    judged = worth(Bert(), router, outcomes)
    assert judged[EARNED].tolist() == [1, 1]
    assert judged[JUDGED].tolist() != [1, 1]
    assert worth(BestSingle(), router, outcomes).tolist() == [[1, 1], [1, 1]]


def test_a_pair_s_settings_are_told_apart(make_outcomes):
    """The strong one is right nearly everywhere: what choices earn is the same for any settings."""
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    texts = [f"{'prove that' if one else 'say hello to'} number {n}" for n, one in enumerate(hard)]
    weak = np.where(hard, 0.1, 0.9)
    rows = np.column_stack([np.full(400, 0.95), weak])
    outcomes = make_outcomes(texts, ["t"] * 400, rows)
    fit = fit_method(
        "bert",
        train=outcomes.take(np.arange(300)),
        validation=outcomes.take(np.arange(300, 400)),
        seed=0,
        fixed={"epochs": 4, "hidden": 8, "learning_rate": {"try": [1e-9, 1e-2]}},
    )
    assert fit.settings.learning_rate == 1e-2
    assert chosen_reward(fit.router, outcomes).mean() == pytest.approx(0.95)

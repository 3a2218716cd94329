"""One evaluation's material: what is measured, who was fitted on what, what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.evaluation.baselines import (
    BEST_SINGLE,
    COST_MATCHED_MIX,
    ORACLE,
    RANDOM,
    RMR,
    TASK_LOOKUP,
    VOTING,
    best_single_route,
    candidate_routes,
    constant,
    one_hot,
    oracle_route,
    random_route,
    rmr_route,
    task_lookup_route,
    voting_route,
)
from cluster.evaluation.bootstrap import Bootstrap
from cluster.evaluation.folds import Fold, pool_routes
from cluster.evaluation.metrics import Routes, TestSet, lottery_shares
from cluster.outcome import BoolMatrix, FloatMatrix, OutcomeMatrix
from cluster.policies import Policy
from cluster.price import Prices, outcome_cost, predicted_cost
from cluster.routers.means import macro_means
from cluster.routers.router import Prediction


@dataclass(frozen=True)
class Wish:
    """How to measure.

    Attributes:
        prices: by candidate; may be empty.
        policy: applied to every router.
        bootstrap: how intervals are made.
        dataset, split: what the rows are named.
        strong, weak: names of a pair of candidates, or empty.
        ranking: outcomes by a reward model that `rmr` chooses by.
    """

    prices: Prices
    policy: Policy
    bootstrap: Bootstrap
    dataset: str
    split: str
    strong: str
    weak: str
    ranking: OutcomeMatrix | None


@dataclass(frozen=True)
class Case:
    """What is measured: complete queries, who was fitted on what, and what was predicted.

    Attributes:
        outcomes: n_queries, every reward known.
        folds: measure each of them once.
        predictions: by router.
        reads: by router, the candidate whose answer it read.
        cost: (n_queries, n_candidates), USD; NaN where unknown.
        train_reward: (n_candidates,), macro mean reward on train, mean over the folds.
    """

    outcomes: OutcomeMatrix
    folds: Sequence[Fold]
    predictions: Mapping[str, Prediction]
    reads: Mapping[str, str]
    cost: FloatMatrix
    train_reward: FloatMatrix

    @property
    def test(self) -> TestSet:
        """What the metrics need of it."""
        outcomes = self.outcomes
        return TestSet(outcomes.candidates, outcomes.tasks, outcomes.reward, self.cost)

    @property
    def width(self) -> int:
        """Number of candidates."""
        return len(self.outcomes.candidates)

    def read_by(self, name: str) -> int | None:
        """Column of the candidate whose answer a router read."""
        read = self.reads.get(name, "")
        return self.outcomes.candidates.index(read) if read else None


def rows_of(said: Prediction, *, kept: BoolMatrix) -> Prediction:
    """What was said of the rows in `kept`, (n_queries,)."""
    return Prediction(said.reward[kept], said.completion_tokens[kept])


def expected_costs(case: Case, *, wish: Wish) -> dict[str, FloatMatrix]:
    """By router, (n_queries, n_candidates) USD that choosing a candidate adds.

    Empty where nobody asks. An answer that was read is paid for already.
    """
    if not wish.policy.needs_cost and not case.test.priced.any():
        return {}

    def on_train(train: OutcomeMatrix, rows: OutcomeMatrix) -> FloatMatrix:
        mean = macro_means(outcome_cost(train, prices=wish.prices), train.tasks)
        return np.broadcast_to(mean, rows.reward.shape)

    fallback = pool_routes(case.folds, case.outcomes, rule=on_train)
    costs = {}
    for name, prediction in case.predictions.items():
        cost = _expected_cost(
            prediction, test=case.outcomes, prices=wish.prices, fallback=fallback
        ).copy()
        read = case.read_by(name)
        if read is not None:
            cost[:, read] = 0.0
        costs[name] = cost
    return costs


def _expected_cost(
    prediction: Prediction, *, test: OutcomeMatrix, prices: Prices, fallback: FloatMatrix
) -> FloatMatrix:
    """(n_queries, n_candidates) USD: the prompt's tokens and the predicted ones, priced.

    A table imported with costs but without tokens leaves only the candidate's mean cost on train.
    """
    if not prices:
        return fallback
    cost = predicted_cost(
        test.prompt_tokens,
        completion_tokens=prediction.completion_tokens,
        candidates=test.candidates,
        prices=prices,
    )
    return np.where(np.isnan(cost), fallback, cost)


def routes_and_calls(
    case: Case, *, wish: Wish, expected: Mapping[str, FloatMatrix]
) -> tuple[dict[str, FloatMatrix], dict[str, FloatMatrix]]:
    """Every method's route; and the calls of those that call more than they choose."""
    outcomes, folds = case.outcomes, case.folds
    reading = {VOTING: voting_route(outcomes), RMR: rmr_route(wish.ranking, outcomes)}
    present = {name: route for name, route in reading.items() if route is not None}
    chosen = {
        name: one_hot(
            wish.policy.choose(prediction, texts=outcomes.texts, cost=expected.get(name)),
            n_candidates=case.width,
        )
        for name, prediction in case.predictions.items()
    }
    calls = {name: np.ones_like(outcomes.reward) for name in present}
    calls |= {name: _with_read(chosen[name], read=case.read_by(name)) for name in case.reads}
    routes = {
        **candidate_routes(outcomes),
        RANDOM: random_route(outcomes),
        BEST_SINGLE: pool_routes(folds, outcomes, rule=best_single_route),
        TASK_LOOKUP: pool_routes(folds, outcomes, rule=task_lookup_route),
        **chosen,
        **present,
        ORACLE: oracle_route(outcomes, cost=case.cost),
    }
    return {**routes, **_lotteries({**chosen, **calls}, names=list(chosen), case=case)}, calls


def _with_read(route: FloatMatrix, *, read: int | None) -> FloatMatrix:
    """The calls of a router that reads a candidate's answer before it chooses."""
    assert read is not None, "it reads an answer"
    calls = route.copy()
    calls[:, read] = 1.0
    return calls


def _lotteries(spending: Routes, *, names: Sequence[str], case: Case) -> dict[str, FloatMatrix]:
    """Each router's cost-matched mix."""
    shares = lottery_shares(
        {name: spending[name] for name in names}, test=case.test, train_reward=case.train_reward
    )
    n = len(case.outcomes)
    return {
        f"{COST_MATCHED_MIX}:{name}": constant(mix, n_queries=n) for name, mix in shares.items()
    }

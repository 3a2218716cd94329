"""One harness for all: every router and every baseline on the same queries, with intervals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.evaluation.baselines import (
    BASELINES,
    BEST_SINGLE,
    CANDIDATE,
    COST_MATCHED_MIX,
    ORACLE,
    RANDOM,
    TASK_LOOKUP,
    best_single_route,
    candidate_routes,
    constant,
    frontier,
    one_hot,
    oracle_route,
    random_route,
    task_lookup_route,
)
from cluster.evaluation.bootstrap import Bootstrap
from cluster.evaluation.metrics import Routes, TestSet, lottery_shares, macro_mean, metric_rows
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.policy import Choices, Policy
from cluster.price import Prices, outcome_cost, predicted_cost
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.router import Prediction, Router
from cluster.storage import Storage


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        rows: the metrics, in the schema of `cluster.evaluation.metrics.SCHEMA`.
        outcomes: the queries that were evaluated: those with every candidate's reward.
        cost: (n_queries, n_candidates), USD each answer cost; NaN where unknown.
        routes: by method, (n_queries, n_candidates) probabilities; a router's are one-hot.
        predictions: by router, its columns in the order of `outcomes.candidates`.
        incomplete: by task, the number of queries left out because a reward is missing.
        frontier: candidates no lottery of the same cost beats (quality on train, cost here), the
            cheapest first; empty where no costs are known.
    """

    rows: pl.DataFrame
    outcomes: OutcomeMatrix
    cost: FloatMatrix
    routes: Routes
    predictions: Mapping[str, Prediction]
    incomplete: Mapping[str, int]
    frontier: tuple[str, ...]


def evaluate(
    train: OutcomeMatrix,
    test: OutcomeMatrix,
    *,
    routers: Mapping[str, Router],
    prices: Prices,
    policy: Policy,
    seed: int,
    dataset: str,
    split: str = "test",
    held_out_tasks: bool = False,
    resamples: int = 10_000,
) -> Evaluation:
    """Measure routers under a policy, every candidate alone, and the baselines.

    Methods are `candidate:<name>`, `random`, `best_single`, `task_lookup`, the routers by the
    names given, `cost_matched_mix:<router>` where costs are known, and `oracle`.

    Args:
        train: what the baselines are fitted on (train + validation).
        test: what is measured on; incomplete queries are left out and counted.
        routers: fitted; each on all or some of the candidates, in any order.
        prices: by candidate; may be empty, then costs are those a table was imported with.
        policy: applied to every router.
        seed: of the bootstrap.
        dataset, split: what the rows are named.
        held_out_tasks: resample tasks instead of queries: for tasks unseen in training.
        resamples: of the bootstrap.

    Raises:
        InputError: train and test differ in candidates, test has no complete query, a router
            has a baseline's name or an unknown candidate, or a price is missing.
    """
    _check(train, test=test, routers=routers)
    complete = test.complete()
    cost = outcome_cost(complete, prices=prices)
    predictions = {name: _predict(router, outcomes=complete) for name, router in routers.items()}
    choices = _choices(predictions, train=train, test=complete, prices=prices, policy=policy)
    measured = TestSet(complete.candidates, complete.tasks, complete.reward, cost)
    train_reward = macro_means(train.reward, train.tasks)
    routes = _routes(choices, train=train, test=complete, cost=cost)
    routes = _with_lotteries(routes, list(routers), measured=measured, train_reward=train_reward)
    rows = metric_rows(
        routes,
        test=measured,
        train_reward=train_reward,
        bootstrap=Bootstrap(
            resamples=resamples, seed=seed, unit="task" if held_out_tasks else "query"
        ),
        dataset=dataset,
        split=split,
    )
    return Evaluation(
        rows=rows,
        outcomes=complete,
        cost=cost,
        routes=routes,
        predictions=predictions,
        incomplete=_incomplete(test),
        frontier=_frontier(measured, train_reward=train_reward),
    )


def write_metrics_json(rows: pl.DataFrame, *, uri: str) -> None:
    """Write metrics as a JSON list of rows, to a local path or `s3://` address; replaces it.

    Raises:
        InputError: the address has an unknown scheme.
    """
    storage = Storage.at(uri)
    text = json.dumps(rows.to_dicts(), ensure_ascii=False, allow_nan=False, indent=1)
    storage.write(storage.uri, f"{text}\n".encode())


def _check(train: OutcomeMatrix, *, test: OutcomeMatrix, routers: Mapping[str, Router]) -> None:
    """Refuse what cannot be compared."""
    if train.candidates != test.candidates:
        raise InputError(
            f"candidates differ: train has {', '.join(train.candidates)}; "
            f"test has {', '.join(test.candidates)}; expected the same, in the same order"
        )
    require_rewards(train)
    if not test.mask.all(axis=1).any():
        raise InputError(
            f"none of the {len(test)} test queries has a reward of every candidate: collect what "
            "is missing, or leave out the candidate that has none"
        )
    reserved = (*BASELINES, COST_MATCHED_MIX)
    for name, router in routers.items():
        if name in reserved or name.startswith((CANDIDATE, f"{COST_MATCHED_MIX}:")):
            raise InputError(
                f"'{name}' is a baseline and always reported; leave it out of the routers, "
                "or give the router another name"
            )
        for candidate in router.candidates:
            if candidate not in test.candidates:
                raise InputError(
                    f"router '{name}' may choose '{candidate}', which has no outcomes here; "
                    f"here are {', '.join(test.candidates)}: collect it, or train without it"
                )


def _predict(router: Router, *, outcomes: OutcomeMatrix) -> Prediction:
    """The router's prediction in the outcomes' columns; NaN for candidates it does not know."""
    found = router.predict(outcomes.texts)
    columns = [outcomes.candidates.index(name) for name in router.candidates]
    reward = np.full(outcomes.reward.shape, np.nan)
    tokens = reward.copy()
    reward[:, columns], tokens[:, columns] = found.reward, found.completion_tokens
    return Prediction(reward, tokens)


def _choices(
    predictions: Mapping[str, Prediction],
    *,
    train: OutcomeMatrix,
    test: OutcomeMatrix,
    prices: Prices,
    policy: Policy,
) -> dict[str, Choices]:
    """What the policy makes of each prediction."""
    fallback = _mean_cost(train, prices=prices) if policy.needs_cost else None
    choices = {}
    for name, prediction in predictions.items():
        cost = None
        if fallback is not None:
            cost = _expected_cost(prediction, test=test, prices=prices, fallback=fallback)
        choices[name] = policy.choose(prediction, texts=test.texts, cost=cost)
    return choices


def _mean_cost(train: OutcomeMatrix, *, prices: Prices) -> FloatMatrix:
    """(n_candidates,): macro mean USD on train; NaN where unknown."""
    return macro_means(outcome_cost(train, prices=prices), train.tasks)


def _expected_cost(
    prediction: Prediction, *, test: OutcomeMatrix, prices: Prices, fallback: FloatMatrix
) -> FloatMatrix:
    """(n_queries, n_candidates) USD: the prompt's tokens and the predicted ones, priced.

    A table imported with costs but without tokens leaves only the candidate's mean cost on train.
    """
    if not prices:
        return np.broadcast_to(fallback, test.reward.shape)
    cost = predicted_cost(
        test.prompt_tokens,
        completion_tokens=prediction.completion_tokens,
        candidates=test.candidates,
        prices=prices,
    )
    return np.where(np.isnan(cost), fallback, cost)


def _routes(
    choices: Mapping[str, Choices],
    *,
    train: OutcomeMatrix,
    test: OutcomeMatrix,
    cost: FloatMatrix,
) -> dict[str, FloatMatrix]:
    """Every method that does not depend on another one."""
    width = len(test.candidates)
    return {
        **candidate_routes(test),
        RANDOM: random_route(test),
        BEST_SINGLE: best_single_route(train, test),
        TASK_LOOKUP: task_lookup_route(train, test),
        **{name: one_hot(chosen, n_candidates=width) for name, chosen in choices.items()},
        ORACLE: oracle_route(test, cost=cost),
    }


def _with_lotteries(
    routes: Routes, routers: list[str], *, measured: TestSet, train_reward: FloatMatrix
) -> dict[str, FloatMatrix]:
    """Add each router's cost-matched mix."""
    matched = {name: routes[name] for name in routers}
    lotteries = lottery_shares(matched, test=measured, train_reward=train_reward)
    n = len(measured.tasks)
    return {
        **routes,
        **{
            f"{COST_MATCHED_MIX}:{name}": constant(shares, n_queries=n)
            for name, shares in lotteries.items()
        },
    }


def _incomplete(test: OutcomeMatrix) -> dict[str, int]:
    """By task, how many queries lack a reward."""
    names, counts = np.unique(test.tasks[~test.mask.all(axis=1)], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _frontier(measured: TestSet, *, train_reward: FloatMatrix) -> tuple[str, ...]:
    """Names of the candidates on the hull of cost and quality."""
    priced = measured.priced
    if not priced.any():
        return ()
    cost = macro_mean(measured.cost[priced], tasks=measured.tasks[priced])
    columns = frontier(reward=train_reward, cost=cost)
    return tuple(measured.candidates[column] for column in columns)

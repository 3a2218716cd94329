"""One harness for all: every router and every baseline on the same queries, with intervals.

Routers fitted once, measured on a test split:

    evaluate(train, test, routers={"knn": router}, prices={}, policy=policy, seed=0, dataset="d")

Routers fitted anew in every fold, each measured on the rows it was not fitted on, all rows measured
once as one test set (baselines are fitted per fold too):

    folds = [Fold(train=outcomes.take(rest), rows=rows) for rest, rows in parts]
    said = [predict(fit(fold.train), outcomes=outcomes.take(fold.rows)) for fold in folds]
    evaluate_predictions(outcomes, folds=folds, predictions={"knn": pool(folds, said)}, ...)
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.evaluation.alarm import collapse_alarms
from cluster.evaluation.baselines import (
    BASELINES,
    CANDIDATE,
    COST_MATCHED_MIX,
    READING_BASELINES,
    TASK_LOOKUP,
    frontier,
)
from cluster.evaluation.bootstrap import Bootstrap
from cluster.evaluation.case import Case, Wish, expected_costs, routes_and_calls, rows_of
from cluster.evaluation.control import CONTROL
from cluster.evaluation.curves import budget_curves, gap_curves
from cluster.evaluation.folds import (
    Fold,
    check_folds,
    check_reads,
    keep_rows,
    mean_over_folds,
    pool,
    predict,
)
from cluster.evaluation.metrics import (
    Routes,
    TestSet,
    macro_mean,
    metric_rows,
)
from cluster.evaluation.pair import Pair, PairCurve, choose_pair
from cluster.evaluation.sweep import Curve
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.policies import Policy
from cluster.price import Prices, outcome_cost
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.router import Prediction, Router
from cluster.storage import Storage

__all__ = [
    "Curve",
    "Evaluation",
    "Fold",
    "Pair",
    "PairCurve",
    "evaluate",
    "evaluate_predictions",
    "pool",
    "predict",
    "write_metrics_json",
]


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
        alarms: sentences a reader must see, about routers that send everything to one candidate.
        curves: by method, cost and quality over all budgets; of `cost_matched_mix` the single
            candidates. Without known costs, by the share of strong calls, where there is a pair.
        pair: the strong and the weak candidate; None where there is no pair.
        pair_curves: by method, the performance gap recovered over the share of strong calls.
    """

    rows: pl.DataFrame
    outcomes: OutcomeMatrix
    cost: FloatMatrix
    routes: Routes
    predictions: Mapping[str, Prediction]
    incomplete: Mapping[str, int]
    frontier: tuple[str, ...]
    alarms: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    pair: Pair | None = None
    pair_curves: Mapping[str, PairCurve] = field(default_factory=dict)


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
    strong: str = "",
    weak: str = "",
    ranking: OutcomeMatrix | None = None,
) -> Evaluation:
    """Measure routers under a policy, every candidate alone, and the baselines.

    Methods are `candidate:<name>`, `random`, `best_single`, `task_lookup`, the routers by the
    names given, `cost_matched_mix:<router>` where costs are known, `voting` where there are
    answers, `rmr` where another scorer's outcomes are given, and `oracle`.

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
        strong, weak: candidates that PGR, APGR and CPT are about; of exactly two candidates the
            better on train is the strong one. Where the strong one is no better on test, there
            are no such rows.
        ranking: outcomes by a reward model, which the baseline `rmr` chooses by.

    Raises:
        InputError: train and test differ in candidates, test has no complete query, a router
            has a baseline's name or an unknown candidate, reads answers that are missing, a price
            is missing, or the pair is not two candidates.
    """
    check_names(routers)
    _check_outcomes(test, folds=[Fold(train, np.arange(len(test)))])
    complete = test.complete()
    evaluation = evaluate_predictions(
        complete,
        folds=[Fold(train, np.arange(len(complete)))],
        predictions={name: predict(each, outcomes=complete) for name, each in routers.items()},
        reads={name: each.reads_answer_of for name, each in routers.items()},
        prices=prices,
        policy=policy,
        seed=seed,
        dataset=dataset,
        split=split,
        held_out_tasks=held_out_tasks,
        resamples=resamples,
        strong=strong,
        weak=weak,
        ranking=ranking,
    )
    return replace(evaluation, incomplete=_incomplete(test))


def evaluate_predictions(
    outcomes: OutcomeMatrix,
    *,
    folds: Sequence[Fold],
    predictions: Mapping[str, Prediction],
    prices: Prices,
    policy: Policy,
    seed: int,
    dataset: str,
    split: str = "test",
    reads: Mapping[str, str] | None = None,
    held_out_tasks: bool = False,
    resamples: int = 10_000,
    strong: str = "",
    weak: str = "",
    ranking: OutcomeMatrix | None = None,
) -> Evaluation:
    """As `evaluate`, of predictions already made: by one router, or pooled over folds.

    Every row of `outcomes` is measured once, by what was fitted without it. Baselines are fitted on
    each fold's train and asked about the fold's rows.

    Args:
        outcomes: what is measured on; incomplete queries are left out and counted.
        folds: whose rows together are those of `outcomes`.
        predictions: by method, of `outcomes`' rows and columns (see `predict` and `pool`).
        prices, policy, seed, dataset, split, held_out_tasks, resamples, strong, weak, ranking: as
            in `evaluate`.
        reads: by method, the candidate whose answer it read before it decided: every query pays
            for that answer, and for another one where another candidate is chosen.

    Raises:
        InputError: as `evaluate`, or the folds do not measure every row once.
    """
    reads = {name: read for name, read in (reads or {}).items() if read}
    check_names(predictions)
    check_folds(folds, outcomes=outcomes)
    _check_outcomes(outcomes, folds=folds)
    check_reads(reads, methods=predictions, outcomes=outcomes)
    kept = np.asarray(outcomes.mask.all(axis=1))
    complete = outcomes.take(kept)
    folds = keep_rows(folds, kept)
    case = Case(
        outcomes=complete,
        folds=folds,
        predictions={name: rows_of(said, kept=kept) for name, said in predictions.items()},
        reads=reads,
        cost=outcome_cost(complete, prices=prices),
        train_reward=mean_over_folds(folds, value=_macro_reward),
    )
    unit: Literal["task", "query"] = "task" if held_out_tasks else "query"
    bootstrap = Bootstrap(resamples=resamples, seed=seed, unit=unit)
    wish = Wish(prices, policy, bootstrap, dataset, split, strong, weak, ranking)
    return replace(_measure(case, wish=wish), incomplete=_incomplete(outcomes))


def _measure(case: Case, *, wish: Wish) -> Evaluation:
    pair = choose_pair(
        case.outcomes.candidates, strong=wish.strong, weak=wish.weak, train_reward=case.train_reward
    )
    expected = expected_costs(case, wish=wish)
    routes, calls = routes_and_calls(case, wish=wish, expected=expected)
    gaps, pair_curves, shares = gap_curves(case, pair=pair, bootstrap=wish.bootstrap)
    budgets, curves = budget_curves(case, expected=expected, bootstrap=wish.bootstrap)
    rows = metric_rows(
        routes,
        test=case.test,
        train_reward=case.train_reward,
        bootstrap=wish.bootstrap,
        dataset=wish.dataset,
        split=wish.split,
        calls=calls,
        pair=pair,
        curves=[gaps, budgets],
    )
    alarms = [*no_gap(rows, pair=pair)]
    methods = [name for name in case.predictions if not name.startswith(CONTROL)]
    alarms += collapse_alarms(
        routes,
        methods=methods,
        alternatives=[TASK_LOOKUP, *(name for name in methods if name not in case.reads)],
        reward=case.outcomes.reward,
        candidates=case.outcomes.candidates,
        known={
            name: np.asarray(np.isfinite(case.predictions[name].reward).any(axis=0))
            for name in methods
        },
    )
    return Evaluation(
        rows=rows,
        outcomes=case.outcomes,
        cost=case.cost,
        routes=routes,
        predictions=case.predictions,
        incomplete={},
        frontier=_frontier(case.test, train_reward=case.train_reward),
        alarms=tuple(alarms),
        curves=curves or shares,
        pair=pair,
        pair_curves=pair_curves,
    )


def no_gap(rows: pl.DataFrame, *, pair: Pair | None) -> Iterator[str]:
    """A sentence where there is a pair, but nothing to recover between its two."""
    if pair is not None and "apgr" not in rows["metric"]:
        yield (
            f"no PGR, APGR or CPT: '{pair.strong}' is not better than '{pair.weak}' on what is "
            "measured; name the better one as --strong"
        )


def write_metrics_json(rows: pl.DataFrame, *, uri: str) -> None:
    """Write metrics as a JSON list of rows, to a local path or `s3://` address; replaces it.

    Raises:
        InputError: the address has an unknown scheme.
    """
    storage = Storage.at(uri)
    text = json.dumps(rows.to_dicts(), ensure_ascii=False, allow_nan=False, indent=1)
    storage.write(storage.uri, f"{text}\n".encode())


def check_names(methods: Collection[str]) -> None:
    """Refuse routers that are named like a baseline.

    Raises:
        InputError: such a name.
    """
    reserved = (*BASELINES, *READING_BASELINES, COST_MATCHED_MIX)
    for name in methods:
        if name in reserved or name.startswith((CANDIDATE, f"{COST_MATCHED_MIX}:")):
            raise InputError(
                f"'{name}' is a baseline and always reported; leave it out of the routers, "
                "or give the router another name"
            )


def _check_outcomes(outcomes: OutcomeMatrix, *, folds: Sequence[Fold]) -> None:
    """Refuse what cannot be compared."""
    for fold in folds:
        if fold.train.candidates != outcomes.candidates:
            raise InputError(
                f"candidates differ: train has {', '.join(fold.train.candidates)}; "
                f"test has {', '.join(outcomes.candidates)}; expected the same, in the same order"
            )
        require_rewards(fold.train)
    require_measurable(outcomes)


def require_measurable(outcomes: OutcomeMatrix) -> None:
    """Refuse queries of which none has a reward of every candidate.

    Raises:
        InputError: says whose rewards are missing.
    """
    if outcomes.mask.all(axis=1).any():
        return
    without = [
        f"'{name}'"
        for name, count in zip(outcomes.candidates, outcomes.mask.sum(axis=0), strict=True)
        if not count
    ]
    who = f"; on none is there one of {', '.join(without)}" if without else ""
    raise InputError(
        f"none of the {len(outcomes)} test queries has a reward of every candidate{who}: collect "
        "what is missing, or leave out the candidate that has none: name the others with "
        "--candidates"
    )


def _macro_reward(train: OutcomeMatrix) -> FloatMatrix:
    return macro_means(train.reward, train.tasks)


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

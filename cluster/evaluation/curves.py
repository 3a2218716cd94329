"""Whole curves of an evaluation: over the share of strong calls, and over budgets."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from cluster.evaluation.baselines import (
    COST_MATCHED_MIX,
    ORACLE,
    PROMPT_LENGTH,
    RANDOM,
    TASK_LOOKUP,
    task_rewards,
)
from cluster.evaluation.bootstrap import Bootstrap
from cluster.evaluation.case import Case, rows_of
from cluster.evaluation.control import CONTROL
from cluster.evaluation.folds import pool_routes
from cluster.evaluation.metrics import CurveStatistics, macro_mean
from cluster.evaluation.pair import Pair, PairCurve, curve, pair_statistics, with_lift
from cluster.evaluation.sweep import Curve, Sweep, quality_statistics, share_curve, sweep
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.means import column_means

DIGITS = 12


def gap_curves(
    case: Case, *, pair: Pair | None, bootstrap: Bootstrap
) -> tuple[CurveStatistics, dict[str, PairCurve], dict[str, Curve]]:
    """Everything about a strong and a weak candidate: metrics, PGR curves, and rewards by share."""
    n = len(case.outcomes)
    if pair is None:
        return CurveStatistics({}, n), {}, {}
    names, reward = case.outcomes.candidates, case.outcomes.reward
    strong, weak = reward[:, names.index(pair.strong)], reward[:, names.index(pair.weak)]
    scores = gap_scores(case, pair=pair)
    found = pair_statistics(
        scores, gain=strong - weak, tasks=case.outcomes.tasks, bootstrap=bootstrap
    )
    drawn = {name: curve(score, gain=strong - weak) for name, score in scores.items()}
    curves = {name: each for name, each in drawn.items() if each is not None}
    shares = {
        name: share_curve(each, weak=float(weak.mean()), strong=float(strong.mean()))
        for name, each in curves.items()
    }
    return CurveStatistics(with_lift(found, over=PROMPT_LENGTH), n), curves, shares


def gap_scores(case: Case, *, pair: Pair) -> dict[str, FloatMatrix]:
    """By method, (n_queries,): how much more it expects of the strong candidate than of the weak.

    For the routers that know both, random, task lookup and the oracle.
    """
    names, reward = case.outcomes.candidates, case.outcomes.reward
    strong, weak = names.index(pair.strong), names.index(pair.weak)
    expected = {
        TASK_LOOKUP: pool_routes(case.folds, case.outcomes, rule=task_rewards),
        **{name: said.reward for name, said in case.predictions.items()},
    }
    fitted = {
        name: comparable(each[:, strong] - each[:, weak], case=case, strong=strong, weak=weak)
        for name, each in expected.items()
        if np.isfinite(each[:, [strong, weak]]).all()
    }
    return {RANDOM: np.zeros(len(reward)), **fitted, ORACLE: reward[:, strong] - reward[:, weak]}


def comparable(score: FloatMatrix, *, case: Case, strong: int, weak: int) -> FloatMatrix:
    """(n_queries,): scores of different folds, each counted from the mean gain on its own train.

    A router that says the same of every query says its train's mean gain. Where a fold's rows gain
    more than others, its train gains less: pooled as they are, the scores of such a router run
    against the truth (APGR .46 instead of .50 on GSM8K in five folds). One fold is left as it is.
    """
    if len(case.folds) == 1:
        return score

    def mean_gain(train: OutcomeMatrix, rows: OutcomeMatrix) -> FloatMatrix:
        gain = train.reward[:, strong] - train.reward[:, weak]
        return np.broadcast_to(column_means(gain[:, None]), (len(rows), len(rows.candidates)))

    mean = pool_routes(case.folds, case.outcomes, rule=mean_gain)[:, 0]
    # What is the same but for the order of a sum must stay tied.
    rounded: FloatMatrix = np.round(score - mean, DIGITS)
    return rounded


def budget_curves(
    case: Case, *, expected: Mapping[str, FloatMatrix], bootstrap: Bootstrap
) -> tuple[CurveStatistics, dict[str, Curve]]:
    """AIQ and curves of the routers and of the candidates alone, where costs are known.

    A router without any expected cost for some query has no curve.
    """
    priced = case.test.priced
    if not priced.any():
        return CurveStatistics({}, 0), {}
    reward, cost, texts = case.outcomes.reward[priced], case.cost[priced], case.outcomes.texts
    tasks = case.outcomes.tasks[priced]
    cheapest = int(macro_mean(cost, tasks=tasks).argmin())
    sweeps = {COST_MATCHED_MIX: Sweep(reward, cost)}
    for name, prediction in case.predictions.items():
        known = ~np.isnan(prediction.reward + expected[name])
        if name.startswith(CONTROL) or not known.any(axis=1).all():
            continue
        sweeps[name] = sweep(
            rows_of(prediction, kept=priced),
            texts=texts.filter(pl.Series(priced)),
            expected_cost=expected[name][priced],
            reward=reward,
            cost=cost,
            cheapest=cheapest,
            read=case.read_by(name),
        )
    areas, curves = quality_statistics(
        sweeps, candidates=COST_MATCHED_MIX, tasks=tasks, bootstrap=bootstrap
    )
    zero = areas[COST_MATCHED_MIX]
    statistics = {
        name: {"aiq": area, **({"aiq_lift_over_mix": area - zero} if name in expected else {})}
        for name, area in areas.items()
    }
    return CurveStatistics(statistics, int(priced.sum())), curves

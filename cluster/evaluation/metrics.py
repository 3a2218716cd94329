"""From route matrices to rows: a value, its interval and the number of queries behind it.

All metrics are means over tasks of the tasks' means ("macro"), except `micro_accuracy`, those of a
pair of candidates, `route_entropy` and `route_share:*`, which are over queries. Rewards and shares
are fractions. Only queries for which every candidate has a reward are evaluated; costs only on
those of them for which every candidate's cost is known. `n` is the number of queries a value rests
on. A task of the name `all` stands in rows as `task:all`. Metrics of a pair: none where the strong
candidate is no better than the weak one.

| metric | |
|---|---|
| `accuracy` | mean reward of one task |
| `macro_accuracy`, `micro_accuracy` | mean reward over tasks, over queries |
| `oracle_gap_closed` | (method − best single) / (oracle − best single); no row where that is 0 |
| `lift_over_best_single`, `lift_over_task_lookup` | method − baseline; the latter by task, too |
| `lift_over_champion` | method − the router named `champion`, where one is measured |
| `lift_over_cost_matched_mix` | method − the best lottery of candidates for the same money |
| `regret` | oracle − method |
| `mean_cost_usd` | USD per query, of one task and over tasks, with every call that is made |
| `aiq` | mean quality over all budgets (`hull.py`); of `cost_matched_mix` the zero router's |
| `aiq_lift_over_mix` | method − zero router |
| `pgr` | share of the gap between a weak and a strong candidate that the policy recovers |
| `apgr`, `apgr_11` | area under the gap recovered (`pair.py`), exact and as published |
| `apgr_lift_over_prompt_length` | method − `prompt_length`, where that is measured |
| `cpt50`, `cpt80` | least share of strong calls that recovers 50 %, 80 % of the gap |
| `route_entropy` | of the overall shares, in nats |
| `route_share:<candidate>` | share of the queries sent there |
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.evaluation.baselines import (
    BEST_SINGLE,
    COST_MATCHED_MIX,
    ORACLE,
    TASK_LOOKUP,
    cost_matched_mix,
)
from cluster.evaluation.bootstrap import Bootstrap, Estimate, Resampled, estimate, resample
from cluster.evaluation.pair import Pair
from cluster.outcome import FloatMatrix

SCHEMA: dict[str, type[pl.DataType]] = {
    "dataset": pl.String,
    "task": pl.String,
    "split": pl.String,
    "method": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "n": pl.Int64,
}
ALL_TASKS = "all"
CHAMPION = "champion"

Routes = Mapping[str, FloatMatrix]
Statistics = Mapping[str, FloatMatrix]
Line = tuple[str, str, str, Estimate, int]


@dataclass(frozen=True)
class TestSet:
    """What methods are measured on: queries for which every candidate's reward is known.

    Attributes:
        candidates: names, the order of the columns.
        tasks: (n_queries,).
        reward: (n_queries, n_candidates).
        cost: (n_queries, n_candidates), USD; NaN where unknown.
    """

    __test__ = False

    candidates: tuple[str, ...]
    tasks: npt.NDArray[np.str_]
    reward: FloatMatrix
    cost: FloatMatrix

    @property
    def priced(self) -> npt.NDArray[np.bool_]:
        """(n_queries,): whether every candidate's cost is known."""
        return np.asarray(~np.isnan(self.cost).any(axis=1))


@dataclass(frozen=True)
class CurveStatistics:
    """Metrics of whole curves.

    Attributes:
        statistics: by method and metric, (1 + resamples,).
        n: queries behind them.
    """

    statistics: Mapping[str, Statistics]
    n: int


def metric_rows(
    routes: Routes,
    *,
    test: TestSet,
    train_reward: FloatMatrix,
    bootstrap: Bootstrap,
    dataset: str,
    split: str,
    calls: Routes | None = None,
    pair: Pair | None = None,
    curves: Sequence[CurveStatistics] = (),
) -> pl.DataFrame:
    """Rows of `SCHEMA` for every method.

    Args:
        routes: by method, (n_queries, n_candidates); holds the baselines.
        test: the queries.
        train_reward: (n_candidates,), macro mean reward on train, which the mix is chosen by.
        bootstrap: how intervals are made.
        dataset, split: what the rows are named.
        calls: by method, (n_queries, n_candidates), how often each candidate is called where that
            is not the route itself: some methods run candidates and then choose.
        pair: the two candidates that `pgr` is about.
        curves: metrics of whole curves, already resampled.
    """
    spending = {**routes, **(calls or {})}
    quality = _resample_along(
        routes, matrix=test.reward, tasks=test.tasks, bootstrap=bootstrap, against=TASK_LOOKUP
    )
    lines = [
        *_task_lines(routes, quality, metric="accuracy"),
        *_task_lines(routes, quality, metric="lift_over_task_lookup", first=-len(routes)),
        *_quality_lines(routes, quality, n=len(test.tasks), level=bootstrap.level),
        *_gap_lines(routes, quality, test=test, pair=pair, level=bootstrap.level),
        *(
            line
            for each in curves
            for method, statistics in each.statistics.items()
            for line in _lines(method, statistics, n=each.n, level=bootstrap.level)
        ),
        *_share_lines(routes, test, bootstrap=bootstrap),
        *_cost_lines(spending, test, quality, train_reward=train_reward, bootstrap=bootstrap),
    ]
    records: list[dict[str, Any]] = [
        {
            "dataset": dataset,
            "task": task,
            "split": split,
            "method": method,
            "metric": metric,
            "value": found.value,
            "ci_low": found.low,
            "ci_high": found.high,
            "n": n,
        }
        for task, method, metric, found, n in lines
    ]
    return pl.DataFrame(records, schema=SCHEMA)


def expected(route: FloatMatrix, matrix: FloatMatrix) -> FloatMatrix:
    """(n_queries,): expectation of `matrix` under `route`, both (n_queries, n_candidates)."""
    mean: FloatMatrix = np.einsum("ij,ij->i", route, matrix)
    return mean


def macro_mean(values: FloatMatrix, *, tasks: npt.NDArray[np.str_]) -> FloatMatrix:
    """(n_columns,): mean over tasks of the tasks' means of (n_queries, n_columns)."""
    means = [values[tasks == name].mean(axis=0) for name in np.unique(tasks)]
    macro: FloatMatrix = np.mean(means, axis=0)
    return macro


def lottery_shares(
    routes: Routes, *, test: TestSet, train_reward: FloatMatrix
) -> dict[str, FloatMatrix]:
    """By method, (n_candidates,): its cost-matched mix; empty where no costs are known."""
    priced = test.priced
    if not priced.any():
        return {}
    tasks, cost = test.tasks[priced], test.cost[priced]
    single = macro_mean(cost, tasks=tasks)
    return {
        method: cost_matched_mix(
            float(macro_mean(expected(route[priced], cost)[:, None], tasks=tasks)[0]),
            reward=train_reward,
            cost=single,
        )
        for method, route in routes.items()
    }


def _resample_along(
    routes: Routes,
    *,
    matrix: FloatMatrix,
    tasks: npt.NDArray[np.str_],
    bootstrap: Bootstrap,
    against: str = "",
) -> Resampled:
    """Expectations of `matrix`: one column a method, then one a candidate.

    Behind them, where a method is named that they are held `against`, each method's difference
    from it: an interval of one task is not kept as resamples that could be subtracted.
    """
    columns = {method: expected(route, matrix) for method, route in routes.items()}
    lifts = [column - columns[against] for column in columns.values()] if against else []
    values = np.column_stack([*columns.values(), matrix, *lifts])
    return resample(values, tasks=tasks, bootstrap=bootstrap)


def _task_lines(
    routes: Routes, resampled: Resampled, *, metric: str, first: int = 0
) -> Iterator[Line]:
    """A line a task and method; the methods' columns begin at `first`."""
    for name, found in resampled.by_task.items():
        task = row_name(name)
        for column, method in enumerate(routes, start=first):
            values = (found.value[column], found.low[column], found.high[column])
            yield task, method, metric, Estimate(*map(float, values)), found.n


def row_name(task: str) -> str:
    """A task as it is named in rows; one that is called as all of them together is told apart."""
    return f"task:{task}" if task == ALL_TASKS else task


def _lines(method: str, statistics: Statistics, *, n: int, level: float) -> Iterator[Line]:
    """One line a statistic, each (1 + resamples,); none where it is undefined."""
    for metric, statistic in statistics.items():
        found = estimate(statistic, level=level)
        if found is not None:
            yield ALL_TASKS, method, metric, found, n


def _quality_lines(routes: Routes, quality: Resampled, *, n: int, level: float) -> Iterator[Line]:
    macro = dict(zip(routes, quality.macro.T, strict=False))
    single, lookup, oracle = macro[BEST_SINGLE], macro[TASK_LOOKUP], macro[ORACLE]
    gap = np.where(oracle > single, oracle - single, np.nan)
    for column, (method, reward) in enumerate(macro.items()):
        statistics = {
            "macro_accuracy": reward,
            "micro_accuracy": quality.micro[:, column],
            "oracle_gap_closed": (reward - single) / gap,
            "lift_over_best_single": reward - single,
            "lift_over_task_lookup": reward - lookup,
            "regret": oracle - reward,
        }
        if CHAMPION in macro and method != CHAMPION:
            statistics["lift_over_champion"] = reward - macro[CHAMPION]
        yield from _lines(method, statistics, n=n, level=level)


def _gap_lines(
    routes: Routes, quality: Resampled, *, test: TestSet, pair: Pair | None, level: float
) -> Iterator[Line]:
    """PGR at what the policy chose; nothing where the strong candidate is no better."""
    if pair is None:
        return
    width = len(test.candidates)
    alone = quality.micro[:, len(routes) : len(routes) + width]
    weak, strong = (alone[:, test.candidates.index(name)] for name in (pair.weak, pair.strong))
    gap = np.where(strong > weak, strong - weak, np.nan)
    for column, method in enumerate(routes):
        recovered = {"pgr": (quality.micro[:, column] - weak) / gap}
        yield from _lines(method, recovered, n=len(test.tasks), level=level)


def _share_lines(routes: Routes, test: TestSet, *, bootstrap: Bootstrap) -> Iterator[Line]:
    values = np.column_stack(list(routes.values()))
    micro = resample(values, tasks=test.tasks, bootstrap=bootstrap, each_task=False).micro
    width = len(test.candidates)
    for place, method in enumerate(routes):
        shares = micro[:, place * width : (place + 1) * width]
        named = zip(test.candidates, shares.T, strict=True)
        statistics = {
            "route_entropy": entropy(shares),
            **{f"route_share:{name}": share for name, share in named},
        }
        yield from _lines(method, statistics, n=len(test.tasks), level=bootstrap.level)


def entropy(shares: FloatMatrix) -> FloatMatrix:
    """(n,): of each row of (n, n_candidates), in nats; 0 · log 0 is 0.

    Of route shares: low where a router has collapsed. Of a distribution of rewards: high where
    they say little (ZOOTER, arXiv 2311.08692, figure 3).
    """
    logs = np.log(np.where(shares > 0, shares, 1.0))
    nats: FloatMatrix = np.abs((shares * logs).sum(axis=1))
    return nats


def _cost_lines(
    routes: Routes,
    test: TestSet,
    quality: Resampled,
    *,
    train_reward: FloatMatrix,
    bootstrap: Bootstrap,
) -> Iterator[Line]:
    """Costs, and the lift over the mix of the same cost; nothing where no costs are known."""
    priced = test.priced
    if not priced.any():
        return
    spent = _resample_along(
        {method: route[priced] for method, route in routes.items()},
        matrix=test.cost[priced],
        tasks=test.tasks[priced],
        bootstrap=bootstrap,
    )
    yield from _task_lines(routes, spent, metric="mean_cost_usd")
    lotteries = lottery_shares(routes, test=test, train_reward=train_reward)
    candidates = quality.macro[:, len(routes) : len(routes) + len(test.candidates)]
    for column, method in enumerate(routes):
        n, level = int(priced.sum()), bootstrap.level
        usd = {"mean_cost_usd": spent.macro[:, column]}
        yield from _lines(method, usd, n=n, level=level)
        if not method.startswith(COST_MATCHED_MIX):
            lift = quality.macro[:, column] - candidates @ lotteries[method]
            named = {"lift_over_cost_matched_mix": lift}
            yield from _lines(method, named, n=len(test.tasks), level=level)

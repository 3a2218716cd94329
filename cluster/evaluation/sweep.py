"""What a router can do at every budget: its predictions under one policy after another.

The policies are `utility` with rising lambda: from the best expected reward, whatever it costs, to
always the cheapest candidate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.evaluation.bootstrap import Bootstrap, resample
from cluster.evaluation.hull import average_quality
from cluster.evaluation.pair import PairCurve
from cluster.outcome import FloatMatrix
from cluster.policies.utility import Utility
from cluster.routers.router import Prediction

# On RouterDC's outcomes with made-up prices the AIQ of 15 policies between the ends was .0002 to
# .0014 below that of 60, and its interval .04 wide.
N_BETWEEN = 15
# Pairs of candidates and queries whose trade-off is looked at to place the lambdas.
MAX_QUERIES = 5_000


@dataclass(frozen=True)
class Curve:
    """Points of a method in the plane of cost and quality, by rising cost.

    Attributes:
        cost: (n_points,), mean USD per query, or share of the calls that go to the strong one of
            a pair, as `unit` says.
        quality: (n_points,), mean reward: over tasks for "usd", over queries for "strong_share".
        unit: of the costs.
    """

    cost: FloatMatrix
    quality: FloatMatrix
    unit: Literal["usd", "strong_share"]


@dataclass(frozen=True)
class Sweep:
    """Reward and cost of every query under every policy, both (n_queries, n_policies)."""

    reward: FloatMatrix
    cost: FloatMatrix


def sweep(
    prediction: Prediction,
    *,
    texts: pl.Series,
    expected_cost: FloatMatrix,
    reward: FloatMatrix,
    cost: FloatMatrix,
    cheapest: int,
    read: int | None = None,
) -> Sweep:
    """Follow a router's choices from the dearest policy to the cheapest candidate.

    Args:
        prediction: (n_queries, n_candidates).
        texts: (n_queries,).
        expected_cost: (n_queries, n_candidates), USD, what the policy reckons with.
        reward, cost: (n_queries, n_candidates), what an answer is worth and costs.
        cheapest: column of the candidate that ends the sweep.
        read: column of the candidate whose answer was read, and paid for, before the choice.
    """
    choices = [
        Utility(lambda_usd=value).choose(prediction, texts=texts, cost=expected_cost)
        for value in lambdas(prediction.reward, expected_cost)
    ]
    chosen = np.stack([*choices, np.full(len(texts), cheapest, dtype=np.int64)], axis=1)
    spent = np.take_along_axis(cost, chosen, axis=1)
    if read is not None:
        # Always the cheapest reads nothing.
        spent[:, :-1] += np.where(chosen[:, :-1] == read, 0.0, cost[:, [read]])
    return Sweep(np.take_along_axis(reward, chosen, axis=1), spent)


def lambdas(reward: FloatMatrix, cost: FloatMatrix) -> list[float]:
    """0 and the lambdas, rising, between which the router's choices change most.

    Where a candidate is expected to be better and dearer than another, their order changes at the
    lambda that is the ratio of the two differences. Taken are the middles between quantiles of
    those ratios, for at a ratio itself two candidates tie; the first is half the least, where cost
    only decides between candidates of equal reward.
    """
    rows = np.linspace(0, len(reward) - 1, min(len(reward), MAX_QUERIES)).astype(np.int64)
    first, second = np.triu_indices(reward.shape[1], k=1)
    gain = reward[rows][:, first] - reward[rows][:, second]
    price = cost[rows][:, first] - cost[rows][:, second]
    ratio = np.divide(gain, price, out=np.zeros_like(gain), where=price != 0)
    turning = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not len(turning):
        return [0.0]
    points = np.unique(np.quantile(turning, np.linspace(0, 1, N_BETWEEN)))
    return [0.0, *(np.append(points[0], points[:-1] + points[1:]) / 2).tolist()]


def quality_statistics(
    sweeps: Mapping[str, Sweep],
    *,
    candidates: str,
    tasks: npt.NDArray[np.str_],
    bootstrap: Bootstrap,
) -> tuple[dict[str, FloatMatrix], dict[str, Curve]]:
    """AIQ of every method, (1 + resamples,), and its curve on the data itself.

    Args:
        sweeps: by method, on queries whose costs are known.
        candidates: the method whose points are the single candidates; they span the range.
        tasks: (n_queries,); cost and quality are means over tasks.
        bootstrap: how intervals are made.
    """
    values = np.column_stack(
        [part for each in sweeps.values() for part in (each.reward, each.cost)]
    )
    macro = resample(values, tasks=tasks, bootstrap=bootstrap, each_task=False).macro
    ends = np.cumsum([2 * each.reward.shape[1] for each in sweeps.values()])[:-1]
    points = {
        method: (part[:, : part.shape[1] // 2], part[:, part.shape[1] // 2 :])
        for method, part in zip(sweeps, np.split(macro, ends, axis=1), strict=True)
    }
    prices = points[candidates][1]
    low, high = prices[:, prices[0].argmin()], prices[:, prices[0].argmax()]
    areas = {
        method: average_quality(cost, quality, low=low, high=high)
        for method, (quality, cost) in points.items()
    }
    curves = {method: usd_curve(cost[0], quality[0]) for method, (quality, cost) in points.items()}
    return areas, curves


def usd_curve(cost: FloatMatrix, quality: FloatMatrix) -> Curve:
    """The points by rising cost."""
    order = np.lexsort((quality, cost))
    return Curve(cost[order], quality[order], "usd")


def share_curve(curve: PairCurve, *, weak: float, strong: float) -> Curve:
    """A pair's curve with its rewards: `weak` and `strong`, the two candidates' means."""
    return Curve(curve.share, weak + curve.pgr * (strong - weak), "strong_share")

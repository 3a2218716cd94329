"""A version held against all that could run instead, on the rows of a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.evaluation.metrics import TestSet, expected, lottery_shares, macro_mean
from cluster.gate.decision import (
    ANCHOR,
    BEST_SINGLE,
    CHAMPION,
    COST,
    COST_MATCHED_MIX,
    Comparison,
)
from cluster.gate.interval import Difference, bounds, macro_weights
from cluster.outcome import FloatMatrix


@dataclass(frozen=True)
class Contest:
    """What is compared on which rows.

    Attributes:
        test: rows with every candidate's reward, between 0 and 1, in an order that does not depend
            on rewards.
        routes: (n_queries, n_candidates) probabilities, of the `version`, and of `champion` and
            `anchor` where there is one.
        train_reward: (n_candidates,), macro mean reward on rows that the version learned from;
            NaN for candidates that are not its own.
    """

    test: TestSet
    routes: Mapping[str, FloatMatrix]
    train_reward: FloatMatrix


VERSION = "version"
# Between the worst and the best reward.
REWARD_REACH = 1.0


def compare(contest: Contest, *, level: float) -> list[Comparison]:
    """The differences, each bound at the level.

    Best single is the best on train, and so known before; where train tells nothing it is the best
    on these very rows, which is more than could be known. The mix and the cost are there where
    costs are known.

    Costs have no range that is known before. The bounds of a cost hold if no answer to any query
    costs more, or less, than those of the snapshot.
    """
    reward = contest.train_reward
    if np.isnan(reward).all():
        reward = macro_mean(contest.test.reward, tasks=contest.test.tasks)
    alone = np.eye(len(reward))
    against = {BEST_SINGLE: _constant(alone[int(np.nanargmax(reward))], contest=contest)}
    mix = lottery_shares(
        {VERSION: contest.routes[VERSION]},
        test=contest.test,
        train_reward=np.where(np.isnan(reward), -np.inf, reward),
    )
    if mix:
        against[COST_MATCHED_MIX] = _constant(mix[VERSION], contest=contest)
    against |= {name: contest.routes[name] for name in (CHAMPION, ANCHOR) if name in contest.routes}
    found = [
        _difference(route, contest=contest, name=name, level=level)
        for name, route in against.items()
    ]
    return [*found, *_cost(contest, level=level)]


def _constant(shares: FloatMatrix, *, contest: Contest) -> FloatMatrix:
    return np.broadcast_to(shares, contest.test.reward.shape)


def _difference(other: FloatMatrix, *, contest: Contest, name: str, level: float) -> Comparison:
    everyone = np.ones(len(other), dtype=np.bool_)
    return _compared(
        contest.test.reward,
        other,
        rows=everyone,
        contest=contest,
        name=name,
        level=level,
        reach=REWARD_REACH,
    )


def _cost(contest: Contest, *, level: float) -> list[Comparison]:
    """What the version costs more than the champion, USD a query; nothing where unknown."""
    priced = contest.test.priced
    if CHAMPION not in contest.routes or not priced.any():
        return []
    seen = contest.test.cost[priced]
    found = _compared(
        contest.test.cost,
        contest.routes[CHAMPION],
        rows=priced,
        contest=contest,
        name=COST,
        level=level,
        reach=float(seen.max() - seen.min()),
    )
    return [found]


def _compared(
    matrix: FloatMatrix,
    other: FloatMatrix,
    *,
    rows: npt.NDArray[np.bool_],
    contest: Contest,
    name: str,
    level: float,
    reach: float,
) -> Comparison:
    """The version less the other in a matrix, (n_queries, n_candidates), on the rows marked."""
    own, held, values = contest.routes[VERSION][rows], other[rows], matrix[rows]
    difference = Difference(
        values=expected(own, values) - expected(held, values),
        reach=reach,
        differs=1 - np.minimum(own, held).sum(axis=1),
    )
    weights = macro_weights(contest.test.tasks[rows])
    gain, low, high = bounds(difference, weights=weights, level=level)
    return Comparison(name, gain=gain, low=low, high=high, n=int(rows.sum()))

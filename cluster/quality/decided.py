"""How decided the rewards are: ties, and the entropy of the distribution over candidates.

Entropy as in figure 3 of ZOOTER (arXiv 2311.08692): of the softmax of a query's rewards, here
standardised over all of them. It is the logarithm of the number of candidates where all did
equally well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.evaluation.metrics import entropy
from cluster.outcome import FloatMatrix
from cluster.quality.alarm import Alarm, percent
from cluster.quality.comparable import Comparable
from cluster.routers.zooter import measure, reward_distribution

# Rewards that differ by less are equal: means of ten samples are a little off what is written.
EQUAL = 1e-9
# Where more rows than this say nothing about who is better, most of a collection is wasted.
MOST_EQUAL = 0.5


@dataclass(frozen=True)
class Decided:
    """How far queries tell candidates apart.

    Attributes:
        at_top: (n_queries,), candidates that share the best reward of a query.
        all_equal: share of the queries on which all candidates do equally well.
        all_worst, all_best: of these, where that is the least, and the greatest reward there is.
        tied: share of the queries with more than one best candidate.
        nats: (n_queries,), entropy of the reward distribution.
        most_nats: the greatest there can be, log of the number of candidates.
    """

    at_top: npt.NDArray[np.int64]
    all_equal: float
    all_worst: float
    all_best: float
    tied: float
    nats: FloatMatrix
    most_nats: float


def decided(data: Comparable) -> Decided:
    """Ties and entropy of the complete rows; there must be one."""
    reward = data.reward
    high, low = reward.max(axis=1), reward.min(axis=1)
    at_top = (reward >= high[:, None] - EQUAL).sum(axis=1)
    equal = high - low <= EQUAL
    distribution = reward_distribution(
        reward, kind="z_score", scale=measure(reward, kind="z_score"), temperature=1.0
    )
    return Decided(
        at_top=at_top,
        all_equal=float(equal.mean()),
        all_worst=float((equal & (high <= reward.min() + EQUAL)).mean()),
        all_best=float((equal & (low >= reward.max() - EQUAL)).mean()),
        tied=float((at_top > 1).mean()),
        nats=entropy(distribution),
        most_nats=float(np.log(reward.shape[1])),
    )


def alarms(found: Decided) -> Iterator[Alarm]:
    """Queries that tell nobody apart."""
    if found.all_equal == 1 and len(found.nats):
        yield Alarm(
            "decided",
            "On every query all candidates have the same reward.",
            "There is nothing to route by: check the scorer, or use queries on which candidates "
            "differ.",
        )
    elif found.all_equal > MOST_EQUAL:
        yield Alarm(
            "decided",
            f"On {percent(found.all_equal)} of the queries all candidates have the same reward: "
            f"{percent(found.all_worst)} where all fail, {percent(found.all_best)} where none "
            "does.",
            "These teach a router nothing. Collect harder or easier queries, more samples a "
            "query, or a finer scorer; where all fail, look at cut-off and unread answers first.",
        )

"""ZOOTER: a classifier distilled from the distribution of rewards over candidates.

    s(q)_i  = softmax over candidates i of r(q, i) / temperature         (r normalised)
    s_t     = mean of s(q) over the queries with tag t
    s*(q)   = beta · s(q) + (1 − beta) · mean over the query's tags t of s_t
    L       = mean over queries of KL(s*(q) ‖ Z(q))

Lu et al., "Routing to the Expert: Efficient Reward-guided Ensemble of Large Language Models",
NAACL 2024, arXiv 2311.08692. The loss is in `cluster.training.zooter`; here are the labels.
"""

from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field

from cluster.encoders.encoder import Vectors
from cluster.outcome import BoolMatrix, FloatMatrix, OutcomeMatrix
from cluster.routers.means import group_means
from cluster.routers.network import NetworkMethod, NetworkRouter
from cluster.routers.newcomer.vectors import add_to_zooter
from cluster.routers.router import Router
from cluster.training.examples import Arrays

RewardScale = Literal["none", "z_score", "min_max", "centred"]


class ZooterRouter(NetworkRouter):
    """A fitted `Zooter`."""

    method: ClassVar[str] = "zooter"

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> NetworkRouter:  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_zooter(self, candidate, probe=probe)

    def distributions(self, outcomes: OutcomeMatrix) -> tuple[FloatMatrix, BoolMatrix]:
        """`share` and `known`, (n_queries, n_candidates): what it would be trained towards."""
        assert isinstance(self.settings, Zooter), "settings of another method"
        label = self.settings.distributions(outcomes, outcomes)[0]
        return label["share"].astype(np.float64), label["known"].astype(bool)


class Zooter(NetworkMethod):
    """Settings of ZOOTER.

    Attributes:
        reward_scale: how rewards are put on a common scale before the softmax, by the training
            rows: `z_score`, `min_max` over all cells, `centred` on each query's mean, or `none`.
        reward_temperature: of the softmax; the smaller, the closer to winner takes all.
        beta: weight of the query's own distribution against that of its tags; 1 ignores tags.
    """

    name: ClassVar[str] = "zooter"
    router: ClassVar[type[Router]] = ZooterRouter

    reward_scale: RewardScale = "z_score"
    reward_temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    beta: float = Field(default=0.3, ge=0, le=1)

    @classmethod
    def grid(cls) -> list[Self]:
        """The published beta and its neighbours, from soft to sharp distributions."""
        return [
            cls(beta=beta, reward_temperature=temperature)
            for temperature in (1.0, 0.3)
            for beta in (0.1, 0.3, 0.7)
        ]

    def network(self, *, n_candidates: int, dimensions: int) -> object:
        """See `cluster.training.zooter`."""
        from cluster.training.zooter import ZooterNetwork

        return ZooterNetwork(
            n_candidates=n_candidates,
            dimensions=dimensions,
            hidden=self.hidden,
            dropout=self.dropout,
        )

    def labels(
        self,
        train: OutcomeMatrix,
        validation: OutcomeMatrix,
        *,
        vectors: tuple[Vectors, Vectors],  # noqa: ARG002 - rewards and tags say it all
        seed: int,  # noqa: ARG002 - nothing is left to chance
    ) -> tuple[Arrays, Arrays]:
        """The tag-enhanced distributions."""
        return self.distributions(train, validation)

    def distributions(
        self, train: OutcomeMatrix, validation: OutcomeMatrix
    ) -> tuple[Arrays, Arrays]:
        """`share` and `known` of both; scale and tag means are those of the training rows."""
        scale = measure(train.reward, kind=self.reward_scale)
        own = [
            reward_distribution(
                rows.reward,
                kind=self.reward_scale,
                scale=scale,
                temperature=self.reward_temperature,
            )
            for rows in (train, validation)
        ]
        by_tag = tag_distributions(own[0], known=train.mask, tags=train.tags)
        enhanced = [
            enhance(shares, tags=rows.tags, by_tag=by_tag, beta=self.beta)
            for shares, rows in zip(own, (train, validation), strict=True)
        ]
        parts = zip(enhanced, (train, validation), strict=True)
        labels = [among_known(shares, known=rows.mask) for shares, rows in parts]
        return labels[0], labels[1]


def measure(reward: FloatMatrix, *, kind: RewardScale) -> tuple[float, float]:
    """Offset and spread of the known rewards; the spread of equal ones is 1."""
    known = reward[~np.isnan(reward)]
    if kind == "z_score":
        offset, spread = float(known.mean()), float(known.std())
    elif kind == "min_max":
        offset, spread = float(known.min()), float(np.ptp(known))
    else:
        offset, spread = 0.0, 1.0
    return offset, spread or 1.0


def reward_distribution(
    reward: FloatMatrix, *, kind: RewardScale, scale: tuple[float, float], temperature: float
) -> FloatMatrix:
    """(n_queries, n_candidates): equation 2; rows sum to 1 over the known cells, unknown are 0.

    A row without any known cell is all 0.
    """
    scaled = (reward - scale[0]) / scale[1]
    if kind == "centred":
        known = ~np.isnan(reward)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        scaled = scaled - np.where(known, scaled, 0.0).sum(axis=1, keepdims=True) / count
    filled = np.where(np.isnan(scaled), -np.inf, scaled)
    highest = filled.max(axis=1, keepdims=True)
    # The difference first: divided by a small temperature, a reward itself may overflow.
    powers = np.exp((filled - np.where(np.isinf(highest), 0.0, highest)) / temperature)
    total = powers.sum(axis=1, keepdims=True)
    shares: FloatMatrix = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
    return shares


def tag_distributions(
    shares: FloatMatrix, *, known: BoolMatrix, tags: pl.Series
) -> dict[str, FloatMatrix]:
    """Equation 3: tag → (n_candidates,), the mean distribution of the queries that carry it.

    A candidate's mean is that of the queries where its share is known. Shares among fewer
    candidates are larger, so they are first made smaller by as much.

    Args:
        shares: (n_queries, n_candidates); 0 for missing cells.
        known: (n_queries, n_candidates), False for missing cells.
        tags: (n_queries,) lists.
    """
    shares = np.where(known, shares * known.mean(axis=1, keepdims=True), np.nan)
    pairs = exploded(tags)
    names, groups = np.unique(pairs["tag"].to_numpy().astype(str), return_inverse=True)
    rows = pairs["row"].to_numpy()
    means = np.nan_to_num(group_means(shares[rows], groups, n_groups=len(names)))
    total = means.sum(axis=1)
    return {
        name: mean / whole
        for name, mean, whole in zip(names.tolist(), means, total, strict=True)
        if whole > 0
    }


def enhance(
    shares: FloatMatrix, *, tags: pl.Series, by_tag: dict[str, FloatMatrix], beta: float
) -> FloatMatrix:
    """(n_queries, n_candidates): equation 4, over all candidates.

    A query none of whose tags occurs in training keeps its own distribution, and one with tags but
    no rewards has that of its tags.
    """
    pairs = exploded(tags).filter(pl.col("tag").is_in(list(by_tag)))
    rows = pairs["row"].to_numpy()
    width = shares.shape[1]
    table = np.stack([by_tag[tag] for tag in pairs["tag"]]) if len(rows) else np.zeros((0, width))
    prior = group_means(table, rows.astype(np.int64), n_groups=len(shares))
    tagged = ~np.isnan(prior[:, :1])
    own = shares.sum(axis=1, keepdims=True) > 0
    weight = np.where(tagged, np.where(own, beta, 0.0), 1.0)
    enhanced: FloatMatrix = weight * shares + (1 - weight) * np.nan_to_num(prior)
    return enhanced


def among_known(shares: FloatMatrix, *, known: BoolMatrix) -> Arrays:
    """`share` and `known`, (n_queries, n_candidates) float32: shares over the known cells alone.

    A query without any known cell, which has the shares of its tags, keeps all of them.
    """
    counts = known | ~known.any(axis=1, keepdims=True)
    kept = np.where(counts, shares, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    share = np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
    return {"share": share.astype(np.float32), "known": counts.astype(np.float32)}


def exploded(tags: pl.Series) -> pl.DataFrame:
    """`row`, `tag`: one row a tag of a query."""
    frame = pl.DataFrame({"tag": tags}).with_row_index("row").explode("tag", empty_as_null=True)
    return frame.drop_nulls()

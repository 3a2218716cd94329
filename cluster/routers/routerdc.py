"""RouterDC: queries and candidates in one space, by two contrastive losses.

    R(x) = softmax over candidates t of cos(E(x), k_t)

Chen et al., "RouterDC: Query-Based Router by Dual Contrastive Learning for Assembling Large
Language Models", NeurIPS 2024, arXiv 2409.19886. The losses are in `cluster.training.routerdc`;
here are the labels they compare with.
"""

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import Vectors
from cluster.encoders.kmeans import k_means, nearest
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.means import group_means
from cluster.routers.multihead import require_unit_rewards, reward_labels
from cluster.routers.network import NetworkMethod, NetworkRouter
from cluster.routers.newcomer.vectors import add_to_routerdc
from cluster.routers.router import Router
from cluster.training.examples import Arrays

# Rows laid out by t-SNE, which takes 6 s for them and 25 s for 5,000. With five groups, more
# rows would only fill them up: the others take the group whose mean vector is nearest.
MAX_LAID_OUT = 2_000
PERPLEXITY = 30


class RouterDCRouter(NetworkRouter):
    """A fitted `RouterDC`."""

    method: ClassVar[str] = "routerdc"

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> NetworkRouter:  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_routerdc(self, candidate, probe=probe)


class RouterDC(NetworkMethod):
    """Settings of RouterDC.

    Attributes:
        n_positive, n_negative: K+ and K-, the candidates that count as best and as worst.
        n_other: H, queries of other groups that a query is held against.
        sample_weight: lambda, weight of the sample–sample loss.
        temperature: of both losses.
        groups: N, clusters of queries.
        highest_negative: reward above which a candidate is never a negative.
    """

    name: ClassVar[str] = "routerdc"
    router: ClassVar[type[Router]] = RouterDCRouter

    n_positive: int = Field(default=3, ge=1)
    n_negative: int = Field(default=3, ge=1)
    n_other: int = Field(default=3, ge=1)
    sample_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    groups: int = Field(default=5, ge=1)
    highest_negative: float = Field(default=0.5, allow_inf_nan=False)

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`: who counts as good and as bad is said of rewards from 0 to 1.

        Raises:
            InputError: no rows, a candidate without a reward, or a reward not between 0 and 1.
        """
        super().check(outcomes, validation=validation)
        require_unit_rewards(outcomes, validation)

    @classmethod
    def grid(cls) -> list[Self]:
        """As published, and with sharper losses."""
        return [cls(), cls(temperature=0.3), cls(temperature=0.1)]

    def network(self, *, n_candidates: int, dimensions: int) -> object:
        """See `cluster.training.routerdc`."""
        from cluster.training.routerdc import RouterDCNetwork

        return RouterDCNetwork(
            n_candidates=n_candidates,
            dimensions=dimensions,
            hidden=self.hidden,
            dropout=self.dropout,
            temperature=self.temperature,
            sample_weight=self.sample_weight,
            n_negatives=self.n_other,
        )

    def labels(
        self,
        train: OutcomeMatrix,
        validation: OutcomeMatrix,
        *,
        vectors: tuple[Vectors, Vectors],
        seed: int,
    ) -> tuple[Arrays, Arrays]:
        """Who counts as best and as worst, and the queries' groups.

        Raises:
            InputError: a reward is not between 0 and 1, where 0 is never good and more than
                `highest_negative` never bad.
        """
        groups = np.zeros(len(train), np.int64), np.zeros(len(validation), np.int64)
        if self.sample_weight:
            groups = group_queries(vectors, n_groups=self.groups, seed=seed)
        return self._labels(train, groups[0]), self._labels(validation, groups[1])

    def _labels(self, outcomes: OutcomeMatrix, groups: npt.NDArray[np.int64]) -> Arrays:
        reward = outcomes.reward
        good = np.where(reward > 0, reward, np.nan)
        bad = np.where(reward <= self.highest_negative, reward, np.nan)
        positive = places(reward, n_places=self.n_positive) * ~np.isnan(good)
        negative = places(-reward, n_places=self.n_negative) * ~np.isnan(bad)
        return {
            "positive": positive.astype(np.float32),
            "negative": negative.astype(np.float32),
            "reward": reward_labels(outcomes)["reward"],
            "group": groups,
        }


def places(values: FloatMatrix, *, n_places: int) -> FloatMatrix:
    """(n, n_columns): each column's share of a place among its row's `n_places` highest values.

    1 for those that are surely among them, 0 for the others and for NaN; those that tie for the
    last places share them evenly: what a fair draw among them would give on average. On RouterDC's
    GSM8K rows 64 % tie at the top.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, -np.inf)
    higher = (filled[:, None, :] > filled[:, :, None]).sum(axis=2)
    equal = (filled[:, None, :] == filled[:, :, None]).sum(axis=2)
    shares: FloatMatrix = np.clip((n_places - higher) / np.maximum(equal, 1), 0.0, 1.0) * known
    return shares


def group_queries(
    vectors: tuple[Vectors, Vectors], *, n_groups: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Clusters of the train rows, and the nearest of them for validation rows (section 3.3).

    The rows are laid out in a plane by t-SNE, and the plane is cut by k-means.
    """
    rng = np.random.default_rng(seed)
    train = vectors[0]
    drawn = np.arange(len(train))
    if len(train) > MAX_LAID_OUT:
        drawn = np.sort(rng.choice(len(train), MAX_LAID_OUT, replace=False))
    with one_blas_thread():
        plane = lay_out(train[drawn], seed=seed)
        centres = k_means(plane, n_clusters=n_groups, rng=rng)
        groups = nearest(plane, centres)
        means = group_means(train[drawn].astype(np.float64), groups, n_groups=len(centres))
        centroids = np.nan_to_num(means).astype(np.float32)
        assigned = nearest(train, centroids)
        assigned[drawn] = groups
        return assigned, nearest(vectors[1], centroids)


def lay_out(vectors: Vectors, *, seed: int) -> Vectors:
    """(n, 2): the rows in a plane, by t-SNE; the vectors themselves where too few are distinct.

    Rows that are all equal end the process in scikit-learn's t-SNE, by a segmentation fault.
    """
    from sklearn.manifold import TSNE

    if vectors.shape[1] < 2 or len(np.unique(vectors, axis=0)) <= 3 * PERPLEXITY:
        return vectors
    tsne = TSNE(perplexity=PERPLEXITY, init="pca", random_state=seed % 2**32, n_jobs=1)
    plane: Vectors = tsne.fit_transform(vectors).astype(np.float32)
    return plane

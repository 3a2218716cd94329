"""A baseline: the cluster a query falls into decides; each cluster has its best candidate.

LoraRetriever (arXiv 2402.09997) as the RouterDC paper (arXiv 2409.19886, table 1) compares with it:
k-means clusters of the training queries, and for each the candidate that is best there. No
shrinkage and one clustering: what `cluster_table` adds is measured against this.
"""

from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field

from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.encoders.kmeans import k_means, nearest
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.encoded import EncodedMethod
from cluster.routers.newcomer.tables import add_to_lora_retriever
from cluster.routers.predicted_task import known_or_macro
from cluster.routers.router import Prediction, Router, RouterState, Tensors


class LoraRetrieverRouter(Router):
    """A fitted `LoraRetriever`."""

    method: ClassVar[str] = "lora_retriever"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder,
        centroids: Vectors,
        reward: FloatMatrix,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`centroids`: (n_clusters, d); the means: (n_clusters, n_candidates)."""
        self.candidates = candidates
        self.encoder = encoder
        self.centroids = centroids
        self.reward = reward
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        cluster = nearest(self.encoder.encode(texts), self.centroids)
        return Prediction(self.reward[cluster], self.completion_tokens[cluster])

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> "LoraRetrieverRouter":  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_lora_retriever(self, candidate, probe=probe)

    def state(self) -> RouterState:
        """The encoder, the centroids and the clusters' means."""
        arrays: Tensors = {
            "centroids": self.centroids,
            "reward": self.reward,
            "completion_tokens": self.completion_tokens,
        }
        return pack_encoder(self.encoder, into=RouterState({}, arrays))

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or does not fit the others.
        """
        encoder = unpack_encoder(state)
        centroids = state.tensor("centroids", shape=(None, encoder.dimensions))
        shape = (len(centroids), len(candidates))
        return cls(
            candidates,
            encoder=encoder,
            centroids=centroids,
            reward=state.tensor("reward", shape=shape),
            completion_tokens=state.tensor("completion_tokens", shape=shape),
        )


class LoraRetriever(EncodedMethod):
    """Settings of the cluster rule.

    Attributes:
        n_clusters: clusters looked for; fewer where there are fewer distinct vectors.
    """

    name: ClassVar[str] = "lora_retriever"
    router: ClassVar[type[Router]] = LoraRetrieverRouter

    n_clusters: int = Field(default=20, ge=1)

    @classmethod
    def grid(cls) -> list[Self]:
        """From the five clusters of RouterDC's files to as many as tasks and subjects."""
        return [cls(n_clusters=n_clusters) for n_clusters in (5, 10, 20, 40, 80)]

    def fit_vectors(
        self, outcomes: OutcomeMatrix, *, vectors: Vectors, encoder: FittedEncoder, seed: int
    ) -> LoraRetrieverRouter:
        """Cluster the queries' vectors, (n_queries, d), and take every cluster's means."""
        rng = np.random.default_rng(seed)
        centroids = k_means(vectors, n_clusters=self.n_clusters, rng=rng)
        # A centroid that lost its last row to a nearer one stands for nothing.
        kept, cluster = np.unique(nearest(vectors, centroids), return_inverse=True)
        means = [
            known_or_macro(values, group=cluster, tasks=outcomes.tasks)
            for values in (outcomes.reward, outcomes.completion_tokens)
        ]
        return LoraRetrieverRouter(
            outcomes.candidates,
            encoder=encoder,
            centroids=centroids[kept],
            reward=means[0],
            completion_tokens=means[1],
        )

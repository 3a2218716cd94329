"""Nearest neighbours: what the candidates were worth on the most similar training queries.

    reward(q, c) = (sum over the k nearest of reward + shrinkage * mean(c)) / (known + shrinkage)

`mean(c)` is the macro mean over tasks. Similarity is the cosine; neighbours that share nothing
with the query (cosine 0 or less, up to rounding) do not count.
"""

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.encoded import EncodedMethod
from cluster.routers.means import macro_means
from cluster.routers.newcomer.tables import add_to_knn
from cluster.routers.router import Prediction, Router, RouterState

# Similarities held at a time: 16 million float32 are 64 MB.
PAIRS_AT_ONCE = 16_000_000
# Vectors of texts without a common term are orthogonal up to rounding, 1e-7 and either sign.
SAME_AS_NOTHING = 1e-4


class KnnRouter(Router):
    """A fitted `Knn`."""

    method: ClassVar[str] = "knn"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder,
        vectors: Vectors,
        reward: FloatMatrix,
        completion_tokens: FloatMatrix,
        prior: FloatMatrix,
        k: int,
        shrinkage: float,
    ) -> None:
        """`reward`, `completion_tokens`: (n_train, n_candidates), NaN where unknown.

        `prior`: (2, n_candidates), the means of the rewards and of the tokens.
        """
        self.candidates = candidates
        self.encoder = encoder
        self.vectors = vectors
        self.reward = reward
        self.completion_tokens = completion_tokens
        self.prior = prior
        self.k = min(k, len(vectors))
        self.shrinkage = shrinkage

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        queries = self.encoder.encode(texts)
        rows = max(1, PAIRS_AT_ONCE // len(self.vectors))
        empty = np.zeros((0, len(self.candidates)))
        reward, tokens = [empty], [empty]
        for start in range(0, len(queries), rows):
            index, counts = self._neighbours(queries[start : start + rows])
            reward.append(self._expected(self.reward, index, counts, prior=self.prior[0]))
            tokens.append(
                self._expected(self.completion_tokens, index, counts, prior=self.prior[1])
            )
        return Prediction(np.concatenate(reward), np.concatenate(tokens))

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> "KnnRouter":  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_knn(self, candidate, probe=probe)

    def _neighbours(self, queries: Vectors) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(n, k) positions of the nearest, and whether they share anything with the query."""
        similarity = queries @ self.vectors.T
        index = np.argpartition(-similarity, self.k - 1, axis=1)[:, : self.k]
        return index, np.take_along_axis(similarity, index, axis=1) > SAME_AS_NOTHING

    def _expected(
        self,
        values: FloatMatrix,
        index: npt.NDArray[np.int64],
        counts: npt.NDArray[np.bool_],
        *,
        prior: FloatMatrix,
    ) -> FloatMatrix:
        """(n, n_candidates): the mean of the neighbours, drawn towards the prior."""
        expected = np.empty((len(index), values.shape[1]))
        for column in range(values.shape[1]):
            near = values[:, column][index]
            known = counts & ~np.isnan(near)
            total = np.where(known, near, 0.0).sum(axis=1) + self.shrinkage * prior[column]
            expected[:, column] = total / (known.sum(axis=1) + self.shrinkage)
        return expected

    def state(self) -> RouterState:
        """The encoder, and the training queries' vectors, rewards and tokens."""
        own = RouterState(
            {"k": self.k, "shrinkage": self.shrinkage},
            {
                "vectors": self.vectors,
                "reward": self.reward,
                "completion_tokens": self.completion_tokens,
                "prior": self.prior,
            },
        )
        return pack_encoder(self.encoder, into=own)

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing, out of range, or does not fit the others.
        """
        encoder = unpack_encoder(state)
        vectors = state.tensor("vectors", shape=(None, encoder.dimensions))
        shape = (len(vectors), len(candidates))
        settings = Knn(k=state.value("k", int), shrinkage=state.value("shrinkage", float))
        return cls(
            candidates,
            encoder=encoder,
            vectors=vectors,
            reward=state.tensor("reward", shape=shape),
            completion_tokens=state.tensor("completion_tokens", shape=shape),
            prior=state.tensor("prior", shape=(2, len(candidates))),
            k=settings.k,
            shrinkage=settings.shrinkage,
        )


class Knn(EncodedMethod):
    """Settings of the nearest-neighbour router.

    Attributes:
        k: neighbours asked.
        shrinkage: neighbours the mean over everything counts as.
    """

    name: ClassVar[str] = "knn"
    router: ClassVar[type[Router]] = KnnRouter

    k: int = Field(default=80, ge=1)
    shrinkage: float = Field(default=10.0, gt=0)

    @classmethod
    def grid(cls) -> list[Self]:
        """From many neighbours and a strong prior to few that speak for themselves."""
        pairs = [(160, 40.0), (160, 10.0), (80, 10.0), (40, 10.0), (40, 2.0), (20, 2.0)]
        return [cls(k=k, shrinkage=shrinkage) for k, shrinkage in pairs]

    def fit_vectors(
        self,
        outcomes: OutcomeMatrix,
        *,
        vectors: Vectors,
        encoder: FittedEncoder,
        seed: int,  # noqa: ARG002 - neighbours leave nothing to chance
    ) -> KnnRouter:
        """Keep the queries' vectors, (n_queries, d), and what is known of them."""
        values = (outcomes.reward, outcomes.completion_tokens)
        return KnnRouter(
            outcomes.candidates,
            encoder=encoder,
            vectors=vectors,
            reward=outcomes.reward,
            completion_tokens=outcomes.completion_tokens,
            prior=np.stack([macro_means(each, outcomes.tasks) for each in values]),
            k=self.k,
            shrinkage=self.shrinkage,
        )

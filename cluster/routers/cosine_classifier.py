"""A baseline of the RouterDC paper: routing as classification, by the cosine to each class.

A candidate's class are the queries it answers best; its prototype is the mean direction of their
vectors, and a query goes to the candidate with the nearest prototype (NeurIPS 2024, arXiv
2409.19886, "CosineClassifier"; there encoder and prototypes are trained, here both are given).
"""

from typing import ClassVar, Self

import numpy as np
import polars as pl

from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.encoded import EncodedMethod
from cluster.routers.means import macro_means
from cluster.routers.router import Prediction, Router, RouterState

# Farther than any prototype: a candidate that is never the best is not chosen.
NO_CLASS = -2.0


class CosineClassifierRouter(Router):
    """A fitted `CosineClassifier`; what it predicts are cosines, whose order alone means much."""

    method: ClassVar[str] = "cosine_classifier"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder,
        prototypes: FloatMatrix,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`prototypes`: (n_candidates, d), unit length, or zeros for a candidate without a class.

        `completion_tokens`: (n_candidates,).
        """
        self.candidates = candidates
        self.encoder = encoder
        self.prototypes = prototypes
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Cosines to the prototypes and expected tokens, each (n_queries, n_candidates)."""
        cosine = self.encoder.encode(texts).astype(np.float64) @ self.prototypes.T
        has_class = self.prototypes.any(axis=1)
        tokens = np.tile(self.completion_tokens, (len(texts), 1))
        return Prediction(np.where(has_class, cosine, NO_CLASS), tokens)

    def state(self) -> RouterState:
        """The encoder, the prototypes and the token means."""
        arrays = {"prototypes": self.prototypes, "completion_tokens": self.completion_tokens}
        return pack_encoder(self.encoder, into=RouterState({}, arrays))

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or does not fit the others.
        """
        encoder = unpack_encoder(state)
        return cls(
            candidates,
            encoder=encoder,
            prototypes=state.tensor("prototypes", shape=(len(candidates), encoder.dimensions)),
            completion_tokens=state.tensor("completion_tokens", shape=(len(candidates),)),
        )


class CosineClassifier(EncodedMethod):
    """The classifier has no settings but the encoder's."""

    name: ClassVar[str] = "cosine_classifier"
    router: ClassVar[type[Router]] = CosineClassifierRouter

    def fit_vectors(
        self,
        outcomes: OutcomeMatrix,
        *,
        vectors: Vectors,
        encoder: FittedEncoder,
        seed: int,  # noqa: ARG002 - means leave nothing to chance
    ) -> CosineClassifierRouter:
        """One prototype a candidate."""
        total = class_shares(outcomes.reward).T @ vectors.astype(np.float64)
        norm = np.linalg.norm(total, axis=1, keepdims=True)
        return CosineClassifierRouter(
            outcomes.candidates,
            encoder=encoder,
            prototypes=np.divide(total, norm, out=np.zeros_like(total), where=norm > 0),
            completion_tokens=macro_means(outcomes.completion_tokens, outcomes.tasks),
        )


def class_shares(reward: FloatMatrix) -> FloatMatrix:
    """(n_queries, n_candidates): which class a query belongs to; equally good ones share it.

    A query on which all known candidates are equally good belongs to none: it tells nothing.
    """
    known = ~np.isnan(reward)
    best = np.where(known, reward, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    winners = known & (reward == best)
    tells = (known & ~winners).any(axis=1, keepdims=True)
    shares: FloatMatrix = (winners & tells) / np.maximum(winners.sum(axis=1, keepdims=True), 1)
    return shares

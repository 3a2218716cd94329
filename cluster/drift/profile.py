"""What is kept of a router's training queries, to tell later whether a file's are like them.

The texts themselves are not kept: centroids of a space of vectors, how many of the training queries
lie nearest to each, and how far from the nearest centroid they lie. In the lexical space a query
also counts as farther the more of its words are not in the vocabulary: without that, of queries of
a subject that was left out of training (MMLU, of five benchmarks) 10 % were far away, with it 62 %.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from cluster.drift.space import LEXICAL, Space, vectors_of
from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.encoders.kmeans import Labels, nearest
from cluster.errors import InputError
from cluster.outcome import FloatMatrix
from cluster.state import State


@dataclass(frozen=True)
class Placed:
    """Where texts lie among the centroids.

    Attributes:
        cluster: (n,) number of the nearest centroid.
        distance: (n,) Euclidean distance from it, and in the lexical space the share of words that
            are not in the vocabulary added.
    """

    cluster: Labels
    distance: FloatMatrix


@dataclass(frozen=True)
class Profile:
    """Training queries in short.

    Attributes:
        space: whose vectors these are: the profile's own small encoder, or the router's.
        encoder: what makes them.
        centroids: (n_clusters, d).
        shares: (n_clusters,) of training queries that were not used to place the centroids.
        names: (n_clusters,) words that tell a cluster's queries from the others', and the task most
            of them are of, where tasks are known.
        n: how many training queries are behind the shares; where they were drawn with unequal
            probabilities, the number of evenly drawn ones that would say as much.
        far_distance: the distance that only `far_rank` of them reach.
        far_rank: of `n`, at or beyond `far_distance`.
    """

    space: Space
    encoder: FittedEncoder
    centroids: Vectors
    shares: FloatMatrix
    names: tuple[str, ...]
    n: float
    far_distance: float
    far_rank: float

    def place(self, texts: pl.Series) -> Placed:
        """Where the texts lie, (n,) each."""
        return place(texts, encoder=self.encoder, centroids=self.centroids)

    def state(self) -> State:
        """What is to be kept; the router's encoder is kept with the router."""
        own = State(
            {
                "space": self.space,
                "names": list(self.names),
                "n": self.n,
                "far_distance": self.far_distance,
                "far_rank": self.far_rank,
            },
            {"centroids": self.centroids, "shares": self.shares},
        )
        return pack_encoder(self.encoder, into=own) if self.space == LEXICAL else own

    @classmethod
    def from_state(cls, state: State, *, routers: FittedEncoder | None) -> Self:
        """The inverse of `state`.

        Args:
            state: what was kept.
            routers: the encoder of the router it was kept with; None where it has none.

        Raises:
            InputError: something is missing or does not fit.
        """
        lexical = state.value("space", str) == LEXICAL
        encoder = unpack_encoder(state) if lexical else routers
        if encoder is None:
            raise InputError("damaged checkpoint: the profile is of an encoder the router lacks")
        names: list[Any] = state.value("names", list)
        n_clusters = len(names)
        shares = state.tensor("shares", shape=(n_clusters,))
        return cls(
            space="lexical" if lexical else "router",
            encoder=encoder,
            centroids=state.tensor("centroids", shape=(n_clusters, encoder.dimensions)),
            shares=shares.astype(np.float64),
            names=tuple(map(str, names)),
            n=float(state.value("n", float)),
            far_distance=float(state.value("far_distance", float)),
            far_rank=float(state.value("far_rank", float)),
        )


def place(texts: pl.Series, *, encoder: FittedEncoder, centroids: Vectors) -> Placed:
    """Where texts lie among centroids, (n_clusters, d)."""
    vectors, unknown = vectors_of(texts, encoder=encoder)
    placed = place_vectors(vectors, centroids=centroids)
    return replace(placed, distance=placed.distance + unknown)


def place_vectors(vectors: Vectors, *, centroids: Vectors) -> Placed:
    """The same for vectors, (n, d), with the Euclidean distance alone."""
    cluster = nearest(vectors, centroids)
    distance = np.linalg.norm(vectors - centroids[cluster], axis=1)
    return Placed(cluster, distance.astype(np.float64))

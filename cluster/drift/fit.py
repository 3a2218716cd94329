"""Making the profile of a router's training queries."""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from cluster.drift.names import cluster_names
from cluster.drift.profile import Profile, place, place_vectors
from cluster.drift.space import LEXICAL, lexical_space
from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import FittedEncoder, Vectors
from cluster.encoders.kmeans import k_means
from cluster.errors import InputError
from cluster.outcome import FloatMatrix

# Fewer say nothing: half of them place the centroids, the other half are counted.
FEWEST = 100
# Beyond so many they are drawn: shares of 25,000 are known to a hundredth of themselves.
MOST = 50_000
QUERIES_A_CLUSTER, MOST_CLUSTERS = 25, 32
# A cluster with fewer held-out queries is dissolved: the logarithm in the index would be noise.
FEWEST_IN_CLUSTER = 5
# Share of the training queries that counts as far away from all others.
FAR = 0.01


@dataclass(frozen=True)
class TrainingQueries:
    """What a router was trained on.

    Attributes:
        queries: `query_id`, `text`, `task`, `sampling_probability`, one row a query.
    """

    queries: pl.DataFrame

    @classmethod
    def of(cls, queries: pl.DataFrame) -> "TrainingQueries":
        """Each query once, at most `MOST`, drawn by their texts' hashes."""
        once = queries.unique("query_id", maintain_order=True)
        columns = ("query_id", "text", "task", "sampling_probability")
        lots = pl.Series("lot", [_lot(text) for text in once["text"]], dtype=pl.Float64)
        drawn = once.select(*columns, lots).sort("lot", "query_id").head(MOST)
        return cls(drawn)

    @property
    def placing(self) -> pl.DataFrame:
        """The half that centroids are placed by; a text that repeats is in one half alone."""
        return self.queries.filter(~self._counted())

    @property
    def counted(self) -> pl.DataFrame:
        """The other half, which the space and its centroids have not seen."""
        return self.queries.filter(self._counted())

    def _counted(self) -> pl.Expr:
        # Another digit of the lot than those that the order goes by.
        return (pl.col("lot") * 2**20).floor().cast(pl.Int64) % 2 == 1


def fit_profile(
    queries: pl.DataFrame, *, encoder: FittedEncoder | None, seed: int
) -> Profile | None:
    """The profile of training queries; None where they are too few, or have no word.

    Args:
        queries: `query_id`, `text`, `task`, `sampling_probability`, those the router learned from.
        encoder: the space, where it is the router's own; None makes a small lexical one.
        seed: of the space and the clusters.
    """
    training = TrainingQueries.of(queries)
    if training.queries.height < FEWEST:
        return None
    placing, counted = training.placing, training.counted
    try:
        space = encoder or lexical_space(placing["text"], seed=seed)
    except InputError:
        return None
    with one_blas_thread():
        centroids = _centroids(space.encode(placing["text"]), seed=seed)
        centroids = _without_small(centroids, vectors=space.encode(counted["text"]))
        placed = place(counted["text"], encoder=space, centroids=centroids)
    weight = 1.0 / counted["sampling_probability"].to_numpy()
    n = float(weight.sum() ** 2 / (weight**2).sum())
    far_distance, far_rank = _far(placed.distance, weight=weight, n=n)
    shares = np.bincount(placed.cluster, weights=weight, minlength=len(centroids))
    return Profile(
        space=LEXICAL if encoder is None else "router",
        encoder=space,
        centroids=centroids,
        shares=shares / shares.sum(),
        names=cluster_names(counted, cluster=placed.cluster, n_clusters=len(centroids)),
        n=n,
        far_distance=far_distance,
        far_rank=far_rank,
    )


def _centroids(vectors: Vectors, *, seed: int) -> Vectors:
    n_clusters = int(np.clip(len(vectors) // QUERIES_A_CLUSTER, 2, MOST_CLUSTERS))
    return k_means(vectors, n_clusters=n_clusters, rng=np.random.default_rng(seed))


def _without_small(centroids: Vectors, *, vectors: Vectors) -> Vectors:
    """The centroids that have enough of the vectors, the smallest dissolved one by one."""
    while len(centroids) > 1:
        placed = place_vectors(vectors, centroids=centroids)
        sizes = np.bincount(placed.cluster, minlength=len(centroids))
        smallest = int(sizes.argmin())
        if sizes[smallest] >= FEWEST_IN_CLUSTER:
            break
        centroids = np.delete(centroids, smallest, axis=0)
    return centroids


def _far(distance: FloatMatrix, *, weight: FloatMatrix, n: float) -> tuple[float, float]:
    """The distance that a `FAR` of the queries reach, and how many of `n` do: at least one."""
    order = np.argsort(-distance, kind="stable")
    beyond = np.cumsum(weight[order]) / weight.sum()
    place_of = int(np.searchsorted(beyond, max(FAR, beyond[0])))
    return float(distance[order[place_of]]), float(beyond[place_of] * n)


def _lot(text: str) -> float:
    """A number in [0, 1) from a text alone; salted, so that it is unrelated to the text's split."""
    return int.from_bytes(hashlib.sha256(f"profile\n{text}".encode()).digest()[:6], "big") / 2**48

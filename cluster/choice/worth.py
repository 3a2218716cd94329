"""What it is worth to run every candidate on a query: where it lies, and whether they will differ.

Two things make a label useful to a router. It should stand for queries that have few labels yet, so
clusters of the queries' vectors get draws by the root of their size rather than by their size:
small kinds of query are where a router knows least. And the candidates should differ on it, for a
query that all of them answer alike teaches nothing about the choice: how much they will is
predicted from the nearest queries that have been labelled before.
"""

import numpy as np

from cluster.encoders.encoder import Vectors
from cluster.encoders.kmeans import k_means, nearest
from cluster.lake.probe import disagreement
from cluster.outcome import FloatMatrix

# Draws a cluster can expect; fewer, larger clusters cover less, smaller ones are noise.
DRAWS_A_CLUSTER = 8
MAX_CLUSTERS = 200
NEIGHBOURS = 20
# Where nothing was labelled near by, and where the nearest happened to agree, a query keeps this
# part of the average worth: what is never drawn is never known.
LEAST_SHARE = 0.5
ROWS_AT_ONCE = 4_096


def cluster_of(vectors: Vectors, *, size: int, rng: np.random.Generator) -> FloatMatrix:
    """(n_queries,) number of each query's cluster; as many clusters as `size` draws can cover."""
    n_clusters = int(np.clip(size // DRAWS_A_CLUSTER, 1, MAX_CLUSTERS))
    centroids = k_means(vectors, n_clusters=n_clusters, rng=rng)
    return np.asarray(nearest(vectors, centroids))


def coverage(cluster: FloatMatrix) -> FloatMatrix:
    """(n_queries,) weights that give every cluster the root of its size; mean 1."""
    sizes = np.bincount(cluster.astype(np.int64))
    weights = 1.0 / np.sqrt(sizes[cluster.astype(np.int64)])
    return np.asarray(weights / weights.mean())


def predicted_disagreement(
    vectors: Vectors, *, known_vectors: Vectors, known_reward: FloatMatrix
) -> FloatMatrix:
    """(n_queries,) weights by how much the candidates will differ; mean 1, none below a half.

    The root of the mean variance between candidates over the nearest labelled queries: a standard
    deviation, in proportion to which Neyman's allocation draws.

    Args:
        vectors: (n_queries, d), of length 1.
        known_vectors: (n_known, d) of queries that are labelled.
        known_reward: (n_known, n_candidates), NaN where missing.
    """
    variance = disagreement(known_reward)
    k = min(NEIGHBOURS, len(variance))
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        near = np.argpartition(-(vectors[part] @ known_vectors.T), k - 1, axis=1)[:, :k]
        found[part] = np.sqrt(variance[near].mean(axis=1))
    mean = found.mean()
    if mean <= 0:
        return np.ones(len(vectors))
    return np.asarray(LEAST_SHARE + (1 - LEAST_SHARE) * found / mean)

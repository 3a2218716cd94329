"""Lloyd's k-means with k-means++ seeding, all chance from one generator.

Written out, because scikit-learn adds up its threads' partial sums in the order they finish: the
same data and seed then differ in the last bit, and with it the version of a checkpoint.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cluster.encoders.encoder import Vectors

Labels = npt.NDArray[np.int64]

# Distances of 2 million pairs at a time: 8 MB, which stays in the cache.
PAIRS_AT_ONCE = 2_000_000


def k_means(
    vectors: Vectors, *, n_clusters: int, rng: np.random.Generator, max_steps: int = 15
) -> Vectors:
    """(at most n_clusters, d) centroids; fewer where there are fewer distinct rows."""
    centroids = plus_plus(vectors, n_clusters=n_clusters, rng=rng)
    labels = nearest(vectors, centroids)
    for _ in range(max_steps):
        centroids = means_of(vectors, labels, centroids)
        moved = nearest(vectors, centroids)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return centroids


def plus_plus(vectors: Vectors, *, n_clusters: int, rng: np.random.Generator) -> Vectors:
    """Rows drawn in proportion to their squared distance from those drawn before."""
    chosen = [int(rng.integers(len(vectors)))]
    distance = np.full(len(vectors), np.inf)
    while len(chosen) < n_clusters:
        difference = vectors - vectors[chosen[-1]]
        distance = np.minimum(distance, np.einsum("nd,nd->n", difference, difference))
        reach = np.cumsum(distance)
        if reach[-1] <= 0:
            break
        chosen.append(int(np.searchsorted(reach, rng.random() * reach[-1], side="right")))
    drawn: Vectors = vectors[np.minimum(chosen, len(vectors) - 1)]
    return drawn


def nearest(vectors: Vectors, centroids: Vectors) -> Labels:
    """(n,) the nearest centroid of each row by Euclidean distance; the first of equals."""
    half_norms = 0.5 * np.einsum("kd,kd->k", centroids, centroids)
    rows = max(1, PAIRS_AT_ONCE // len(centroids))
    labels = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), rows):
        part = vectors[start : start + rows]
        labels[start : start + rows] = np.argmax(part @ centroids.T - half_norms, axis=1)
    return labels


def means_of(vectors: Vectors, labels: Labels, centroids: Vectors) -> Vectors:
    """(k, d) the mean of each cluster's rows; an empty cluster stays where it was."""
    ones = np.ones(len(labels), dtype=np.float32)
    shape = (len(centroids), len(labels))
    members = sparse.csr_matrix((ones, (labels, np.arange(len(labels)))), shape=shape)
    sizes = np.bincount(labels, minlength=len(centroids))[:, None]
    means: Vectors = (members @ vectors / np.maximum(sizes, 1)).astype(np.float32)
    return np.where(sizes > 0, means, centroids)

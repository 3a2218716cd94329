import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.encoders import kmeans
from cluster.encoders.kmeans import k_means, nearest


def blobs(rng):
    centres = np.array([[0, 0], [10, 0], [0, 10]], dtype=np.float32)
    labels = np.repeat([0, 1, 2], 30)
    return (centres[labels] + rng.normal(0, 0.3, (90, 2))).astype(np.float32), labels


def test_separate_groups_are_found():
    vectors, truth = blobs(np.random.default_rng(0))
    centroids = k_means(vectors, n_clusters=3, rng=np.random.default_rng(1))
    found = nearest(vectors, centroids)
    assert len({(int(a), int(b)) for a, b in zip(truth, found, strict=True)}) == 3
    assert np.allclose(centroids[found[0]], vectors[:30].mean(axis=0), atol=1e-4)


def test_equal_seeds_give_equal_centroids():
    vectors, _ = blobs(np.random.default_rng(0))
    first, second = (k_means(vectors, n_clusters=5, rng=np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_fewer_distinct_rows_than_clusters():
    vectors = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    assert len(k_means(vectors, n_clusters=6, rng=np.random.default_rng(0))) == 2


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6))
def test_nearest_is_the_smallest_distance(seed, n, k):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 3)).astype(np.float32)
    centroids = rng.normal(size=(k, 3)).astype(np.float32)
    distance = np.linalg.norm(vectors[:, None] - centroids[None], axis=2)
    assert np.array_equal(nearest(vectors, centroids), distance.argmin(axis=1))


def test_nearest_in_parts_is_the_same(monkeypatch):
    vectors, _ = blobs(np.random.default_rng(0))
    whole = nearest(vectors, vectors[::20])
    monkeypatch.setattr(kmeans, "PAIRS_AT_ONCE", 7)
    assert np.array_equal(nearest(vectors, vectors[::20]), whole)

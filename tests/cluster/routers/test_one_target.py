import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers import one_target
from cluster.routers.one_target import (
    NEIGHBOURS,
    Neighbours,
    neighbour_means,
    neighbour_path,
    ridge_path,
    ridges,
)


def vectors(n, d, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_a_line_is_found_and_its_intercept_is_not_shrunk():
    seen = vectors(200, 3)
    target = 5.0 + seen @ np.array([1.0, -2.0, 0.5])
    light, heavy = ridges(seen, target, penalties=(1e-9, 1e12))
    asked = vectors(10, 3, seed=1)
    assert light.score(asked) == pytest.approx(5.0 + asked @ [1.0, -2.0, 0.5], abs=1e-4)
    assert heavy.score(asked) == pytest.approx(np.full(10, target.mean()), abs=1e-6)


def test_it_solves_the_normal_equations():
    seen, target = vectors(30, 4), np.random.default_rng(1).random(30)
    ridge = ridges(seen, target, penalties=(2.0,))[0]
    centred = (seen - seen.mean(axis=0)).astype(np.float64)
    residual = target - ridge.score(seen)
    assert centred.T @ residual == pytest.approx(2.0 * ridge.weights, abs=1e-6)
    assert residual.sum() == pytest.approx(0, abs=1e-6)


def test_fewer_rows_than_dimensions():
    assert np.isfinite(ridge_path(vectors(1, 5), np.ones(1), vectors(3, 5))).all()
    assert np.isfinite(neighbour_path(vectors(1, 5), np.ones(1), vectors(3, 5))).all()


def test_neighbours_are_the_shrunk_mean_of_the_nearest():
    seen, target, asked = vectors(50, 4), np.random.default_rng(2).random(50), vectors(6, 4, seed=3)
    found = neighbour_means(seen, target, asked, settings=((8, 3.0), (2, 0.5)))
    for row, query in enumerate(asked):
        order = np.argsort(-(seen @ query))
        for place, (k, shrinkage) in enumerate(((8, 3.0), (2, 0.5))):
            near = target[order[:k]][(seen @ query)[order[:k]] > 1e-4]
            expected = (near.sum() + shrinkage * target.mean()) / (len(near) + shrinkage)
            assert found[place, row] == pytest.approx(expected)


def test_a_query_like_nothing_has_the_mean():
    seen, target = vectors(20, 4), np.arange(20.0)
    assert neighbour_path(seen, target, np.zeros((1, 4), np.float32)) == pytest.approx(
        np.full((len(NEIGHBOURS), 1), 9.5)
    )


def test_parts_change_nothing(monkeypatch):
    seen, target, asked = vectors(50, 4), np.arange(50.0), vectors(9, 4, seed=3)
    whole = neighbour_path(seen, target, asked)
    monkeypatch.setattr(one_target, "PAIRS_AT_ONCE", 100)
    assert neighbour_path(seen, target, asked) == pytest.approx(whole)


def test_neighbours_without_a_row_are_refused():
    state = Neighbours(np.zeros((0, 4), np.float32), np.zeros(0), 5, 1.0).state()
    with pytest.raises(InputError, match="neighbours"):
        Neighbours.from_state(state, dimensions=4)

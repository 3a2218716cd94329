"""Bounds at a small error rate: true where a normal bound is not, and never the other way round."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gate.interval import Difference, bounds, macro_weights


def bound(values, *, level=0.001, reach=1.0, weights=None):
    rows = np.asarray(values, dtype=float)
    difference = Difference(rows, reach, (rows != 0).astype(float))
    weights = np.ones(len(rows)) if weights is None else weights
    return bounds(difference, weights=weights, level=level)


def test_the_mean_over_rows_of_weighted_values_is_the_macro_mean() -> None:
    tasks = np.array(["a", "b", "b", "b"])
    values = np.array([1.0, 0.0, 0.0, 0.6])
    assert (macro_weights(tasks) * values).mean() == pytest.approx((1.0 + 0.2) / 2)


def test_losses_that_are_rare_are_not_overlooked_for_being_absent() -> None:
    """None of 500 rows differs: a loss of 1 % is then seen in none of them once in 150 samples."""
    _, low, high = bound(np.zeros(500), level=0.0008)
    assert low < -0.01
    assert high > 0.01


@pytest.mark.parametrize("name", ["even", "rare losses"])
def test_wrong_bounds_are_no_more_frequent_than_the_level(name) -> None:
    """At a level of 5 %, where 400 samples can tell; t is wrong 8 times as often on the second."""
    rng = np.random.default_rng(0)
    values, chances = {
        "even": ([-1.0, 0.0, 1.0], [0.1, 0.8, 0.1]),
        "rare losses": ([-1.0, 0.01 / 0.99], [0.01, 0.99]),
    }[name]
    wrong = sum(
        bound(rng.choice(values, p=chances, size=200), level=0.05)[1] > 0 for _ in range(400)
    )
    assert wrong <= 0.05 * 400


def test_a_gain_that_is_there_is_found() -> None:
    rng = np.random.default_rng(1)
    mean, low, high = bound(rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.7, 0.25], size=600))
    assert 0 < low < mean < high
    assert high - low < 0.25


def test_the_unit_of_rewards_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    rows = rng.choice([-1.0, 0.0, 1.0], size=300)
    assert np.allclose(np.array(bound(rows)) * 50, bound(rows * 50, reach=50.0), atol=1e-4)


@given(
    st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=60),
    st.sampled_from([0.05, 0.001]),
)
def test_bounds_hold_the_mean_and_mirror_each_other(values, level) -> None:
    mean, low, high = bound(values, level=level)
    assert -1 <= low <= mean + 1e-6
    assert mean - 1e-6 <= high <= 1
    mirrored = bound([-value for value in values], level=level)
    assert np.allclose(mirrored, (-mean, -high, -low), atol=1e-6)
    assert bound(values, level=level / 10)[1] <= low + 1e-6

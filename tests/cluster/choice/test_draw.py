"""Draws with known probabilities: their number, their sum, and who is hit how often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.choice.draw import inclusion, systematic

WEIGHTS = st.lists(st.floats(0, 100), min_size=1, max_size=40).map(np.array)


@given(weights=WEIGHTS, size=st.integers(0, 45))
def test_probabilities_are_some_and_sum_to_the_size(weights, size):
    found = inclusion(weights, size=size)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-9
    assert found.sum() == pytest.approx(min(size, len(weights)))


@given(weights=WEIGHTS, size=st.integers(1, 45))
def test_more_weight_is_never_less_likely(weights, size):
    found = inclusion(weights, size=size)
    order = np.argsort(weights, kind="stable")
    assert (np.diff(found[order]) >= -1e-9).all()


@given(
    weights=WEIGHTS, size=st.integers(0, 45), offset=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_just_so_many_are_drawn_each_once(weights, size, offset, seed):
    probability = inclusion(weights, size=size)
    order = np.random.default_rng(seed).permutation(len(weights))
    drawn = systematic(probability, order=order, offset=offset)
    assert len(drawn) == min(size, len(weights)) == len(set(drawn.tolist()))
    assert (probability[drawn] > 0).all()


def test_each_is_hit_as_often_as_its_probability_says():
    probability = inclusion(np.array([1.0, 2.0, 3.0, 10.0, 0.5]), size=2)
    offsets = (np.arange(1000) + 0.5) / 1000
    hits = np.zeros(5)
    for offset in offsets:
        hits[systematic(probability, order=np.arange(5), offset=offset)] += 1
    assert hits / 1000 == pytest.approx(probability, abs=2e-3)

"""The hull against its definition, and AIQ where it is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.evaluation.hull import average_quality, hull


def aiq(cost, quality, low, high) -> float:
    one = [np.array([each], dtype=float) for each in (cost, quality)]
    return float(average_quality(*one, low=np.array([low]), high=np.array([high]))[0])


def best_lottery(cost, quality, budget) -> float:
    """The best expected quality of two points mixed by lot, for no more than a budget."""
    best = max(q for c, q in zip(cost, quality, strict=True) if c <= budget)
    for c, q in zip(cost, quality, strict=True):
        for d, r in zip(cost, quality, strict=True):
            if c <= budget < d:
                best = max(best, q + (r - q) * (budget - c) / (d - c))
    return best


points = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=8)


@given(points)
def test_the_hull_is_the_best_lottery_for_the_money(found) -> None:
    cost, quality = (np.array(each, dtype=float) for each in zip(*found, strict=True))
    x, y = hull(cost[None], quality[None])
    for budget, height in zip(x[0], y[0], strict=True):
        # Of equal costs the last one is the height of the hull there.
        at = y[0][x[0] == budget].max()
        assert at == pytest.approx(best_lottery(cost, quality, budget))
        assert height <= at


@given(points, st.integers(0, 20))
def test_a_better_policy_never_lowers_aiq(found, seed) -> None:
    cost, quality = (np.array([0.0, *each]) for each in zip(*found, strict=True))
    more = np.random.default_rng(seed).random(2) * 8
    before = aiq(cost, quality, 0.0, 8.0)
    assert aiq([*cost, more[0]], [*quality, more[1]], 0.0, 8.0) >= before - 1e-12


def test_two_candidates_mixed_have_the_middle() -> None:
    assert aiq([1, 3], [0.4, 0.8], 1, 3) == pytest.approx(0.6)
    # A point above the line: two trapezoids, (0.4 + 0.7) / 2 and (0.7 + 0.8) / 2.
    assert aiq([1, 2, 3], [0.4, 0.7, 0.8], 1, 3) == pytest.approx(0.65)
    # Below the line, and dearer but worse: nothing changes.
    assert aiq([1, 2, 3, 2.5], [0.4, 0.5, 0.8, 0.1], 1, 3) == pytest.approx(0.6)


def test_beyond_the_last_point_it_is_level_and_beyond_the_range_cut() -> None:
    assert aiq([1, 2], [0.4, 0.8], 1, 3) == pytest.approx((0.6 + 0.8) / 2)
    assert aiq([0, 4], [0.0, 0.8], 1, 3) == pytest.approx(0.4)
    assert np.isnan(aiq([1, 1], [0.4, 0.8], 1, 1))

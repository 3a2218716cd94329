from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.preference import Comparisons
from cluster.routers.tiers import cut_into_tiers, strength_tiers

SCORES = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-50, 50)), min_size=1, max_size=8
)


def spread(scores, tier_of):
    parts = [scores[tier_of == tier] for tier in np.unique(tier_of)]
    return sum(((part - part.mean()) ** 2).sum() for part in parts)


def least_spread(scores, n_tiers):
    """Over all cuts of the sorted scores into at most so many parts."""
    ordered = np.sort(scores)
    return min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts))
        for n in range(min(n_tiers, len(scores)))
        for cuts in combinations(range(1, len(scores)), n)
    )


@given(scores=SCORES, n_tiers=st.integers(1, 5))
def test_no_cut_has_less_spread(scores, n_tiers):
    scores = np.array(scores)
    found = cut_into_tiers(scores, n_tiers=n_tiers)
    least = least_spread(scores, n_tiers)
    assert spread(scores, found.tier_of) == pytest.approx(least, rel=1e-6, abs=1e-6)


@given(scores=SCORES, n_tiers=st.integers(1, 5))
def test_tiers_are_ordered_and_none_is_empty(scores, n_tiers):
    scores = np.array(scores)
    found = cut_into_tiers(scores, n_tiers=n_tiers)
    expected = min(n_tiers, len(set(scores.tolist())))
    assert found.n_tiers == expected
    assert sorted(set(found.tier_of.tolist())) == list(range(expected))
    for better, worse in combinations(range(expected), 2):
        assert scores[found.tier_of == better].min() > scores[found.tier_of == worse].max()
    for tier in range(expected):
        assert found.offsets[found.tier_of == tier].mean() == pytest.approx(0, abs=1e-9)


def test_arena_like_ratings_fall_where_they_gap():
    ratings = np.array([1000.0, 1251, 1185, 1010, 1250, 1190, 995])
    assert cut_into_tiers(ratings, n_tiers=3).tier_of.tolist() == [2, 0, 1, 2, 0, 1, 2]


@pytest.fixture
def chain():
    """0 and 1 win against 2, who wins against 3; 0 and 1 come out even."""
    meetings = [(0, 2, 1.0), (1, 2, 1.0), (2, 3, 1.0), (0, 1, 0.5), (1, 3, 1.0)] * 5
    a, b, target = (np.array(column) for column in zip(*meetings, strict=True))
    n = len(meetings)
    return Comparisons(
        row=np.arange(n), a=a, b=b, target=target, weight=np.ones(n), n_rows=n, n_players=4
    )


def test_equals_are_one_tier_and_their_comparisons_are_its_own(chain):
    tiers = strength_tiers(chain, n_tiers=3, ties=0.5)
    assert tiers.tier_of.tolist() == [0, 0, 1, 2]
    between = tiers.between(chain)
    assert between.n_players == 3
    assert between.wins().tolist() == [[0, 10, 5], [0, 0, 5], [0, 0, 0]]

"""The index and its distribution where nothing has changed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.drift.stability import (
    expected_by_chance,
    limit_by_chance,
    stability_parts,
)

counts = st.lists(st.integers(0, 500), min_size=2, max_size=20).filter(lambda c: sum(c) > 0)


def shares(values: list[int]) -> np.ndarray:
    return np.array(values) / sum(values)


@given(counts, st.randoms())
def test_the_index_is_symmetric_never_negative_and_0_for_the_same_shares(values, random):
    other = random.sample(values, len(values))
    sizes = {"n_first": float(sum(values)), "n_second": float(sum(values))}
    parts = stability_parts(shares(values), second=shares(other), **sizes)
    back = stability_parts(shares(other), second=shares(values), **sizes)
    there = parts.sum()
    assert (parts >= 0).all()
    assert np.isfinite(there)
    assert there == pytest.approx(back.sum())
    assert stability_parts(shares(values), second=shares(values), **sizes) == pytest.approx(0)


@given(counts)
def test_more_queries_have_less_noise(values):
    n = len(values)
    few = limit_by_chance(n, n_first=100, n_second=1000, level=0.001)
    many = limit_by_chance(n, n_first=1000, n_second=1000, level=0.001)
    assert few > many > expected_by_chance(n, n_first=1000, n_second=1000)


@pytest.mark.parametrize(("n_first", "n_second"), [(300, 300), (1000, 5000), (20_000, 800)])
def test_draws_from_one_population_keep_to_the_limit(n_first, n_second):
    rng = np.random.default_rng(7)
    population = rng.dirichlet(np.full(12, 3.0))
    draws = 4000
    first = rng.multinomial(n_first, population, draws) / n_first
    second = rng.multinomial(n_second, population, draws) / n_second
    sizes = {"n_first": float(n_first), "n_second": float(n_second)}
    found = np.array(
        [stability_parts(p, second=q, **sizes).sum() for p, q in zip(first, second, strict=True)]
    )
    limit = limit_by_chance(12, level=0.01, **sizes)
    assert found.mean() == pytest.approx(expected_by_chance(12, **sizes), rel=0.08)
    assert 0.003 < (found > limit).mean() < 0.02

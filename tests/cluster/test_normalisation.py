"""Normalised rewards: in range, in order, and never moved by what is not learned from."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.normalisation import NORMALISATIONS, normalised, yardstick

KINDS = [name for name in NORMALISATIONS if name != "none"]
UNIT = ("min_max", "rank", "sigmoid")
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.tuples(st.sampled_from("pqr"), FINITE, st.booleans()), min_size=1, max_size=12)
TEMPERATURES = st.floats(min_value=1e-6, max_value=1e6)


def frame(rows) -> pl.DataFrame:
    kinds = {"query_id": pl.String, "value": pl.Float64, "learned": pl.Boolean}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def values(rows, kind, temperature=1.0) -> np.ndarray:
    return normalised(frame(rows), normalisation=kind, temperature=temperature).to_numpy()


@pytest.mark.parametrize("kind", KINDS)
@given(rows=ROWS, temperature=TEMPERATURES)
def test_every_reward_stays_a_number_in_range(kind, rows, temperature):
    found = values(rows, kind, temperature)
    assert len(found) == len(rows)
    assert np.isfinite(found).all()
    if kind in UNIT:
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
@given(rows=ROWS, temperature=TEMPERATURES)
def test_no_better_answer_to_a_query_becomes_the_worse_one(kind, rows, temperature):
    found = values(rows, kind, temperature)
    for query in "pqr":
        own = sorted((r, v) for (q, r, _), v in zip(rows, found, strict=True) if q == query)
        assert all(low[1] <= high[1] for low, high in itertools.pairwise(own))


@pytest.mark.parametrize("kind", ["min_max", "z_score", "sigmoid"])
@given(learned=st.lists(FINITE, min_size=1, max_size=6), others=st.lists(FINITE, max_size=6))
def test_rows_that_are_not_learned_from_move_nothing(kind, learned, others):
    alone = values([("p", value, True) for value in learned], kind)
    rows = [*(("p", value, True) for value in learned), *(("q", value, False) for value in others)]
    np.testing.assert_array_equal(values(rows, kind)[: len(learned)], alone)


@given(rows=ROWS)
def test_ranks_of_a_query_are_one_half_in_the_mean(rows):
    found = frame(rows).with_columns(rank=normalised(frame(rows), normalisation="rank"))
    means = found.group_by("query_id").agg(pl.col("rank").mean())["rank"]
    np.testing.assert_allclose(means, 0.5, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(value=FINITE, n=st.integers(1, 5))
def test_equal_rewards_are_in_the_middle(kind, value, n):
    found = values([("p", value, True)] * n, kind)
    assert set(found.tolist()) == {0.0 if kind == "z_score" else 0.5}


@given(
    rewards=st.lists(st.integers(-50, 50), min_size=2, max_size=8),
    slope=st.sampled_from([0.5, 3.0, 1e6]),
    offset=st.integers(-1000, 1000),
)
def test_the_unit_a_reward_model_counts_in_does_not_matter(rewards, slope, offset):
    for kind in KINDS:
        plain, moved = (
            values([("p", value, True) for value in part], kind)
            for part in (rewards, [slope * reward + offset for reward in rewards])
        )
        np.testing.assert_allclose(plain, moved, rtol=1e-6, atol=1e-6)


def test_ties_share_their_rank():
    rows = [("p", value, True) for value in (1.0, 2.0, 2.0, 5.0)]
    assert values(rows, "rank").tolist() == [0.0, 0.5, 0.5, 1.0]


def test_beyond_a_constant_reward_there_is_only_less_and_more():
    made = yardstick(np.array([3.0, 3.0]), scaling="min_max")
    assert made.measured(np.array([2.9, 3.0, 900.0])).tolist() == [0.0, 0.5, 1.0]


def test_of_no_rewards_there_is_a_scale_too():
    for kind in ("min_max", "z_score", "sigmoid", "none"):
        assert len(yardstick(np.zeros(0), scaling=kind).measured(np.zeros(0))) == 0

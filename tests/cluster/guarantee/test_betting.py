"""The bound by betting: it is wrong no more often than it says, whatever the rewards look like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from cluster.guarantee import betting

unit = st.floats(0, 1, allow_nan=False, width=32)
floors = st.sampled_from([0.5, 0.9, 0.95, 1.0])
rewards = st.integers(1, 60).flatmap(lambda n: arrays(float, (2, n), elements=unit))
SAMPLES = 3_000
FLOOR = 0.95


def no_better(kind: str, rng: np.random.Generator, *, n: int):
    """(SAMPLES, n) margins whose mean is exactly 0: what must not be certified."""
    draw = rng.random((SAMPLES, n))
    if kind == "two values":
        # As where the route and the reference never agree.
        return np.where(draw < 1 / (1 + FLOOR), -FLOOR, 1.0)
    if kind == "mostly equal":
        # The reference is right on 80 %; the route loses so many of these as the floor leaves.
        lost = 0.8 * (1 - FLOOR)
        return np.where(draw < lost, -FLOOR, np.where(draw < 0.8, 1 - FLOOR, 0.0))
    return rng.beta(0.3 * FLOOR, 0.3, (SAMPLES, n)) * (1 + FLOOR) - FLOOR


@pytest.mark.parametrize("kind", ["two values", "mostly equal", "continuous"])
@pytest.mark.parametrize("delta", [0.1, 0.05])
@pytest.mark.parametrize("n", [250, 1_000])
def test_what_is_no_better_is_certified_with_a_chance_of_at_most_delta(kind, delta, n) -> None:
    margin = no_better(kind, np.random.default_rng(1), n=n)
    assert abs(margin.mean()) < 0.003
    most = binom.ppf(0.999, SAMPLES, delta)
    assert betting.holds(margin, floor=FLOOR, delta=delta).sum() <= most
    # The same draws find out a rule that has no bound.
    assert (margin.mean(axis=1) > 0).sum() > most


def test_weighted_rows_are_certified_no_more_often_than_delta() -> None:
    # Rows that lose are picked ten times as often, and count a tenth.
    hard = np.random.default_rng(2).random((SAMPLES, 500)) < 10 / 11
    margin = np.where(hard, -0.1 * FLOOR, FLOOR)
    assert abs(margin.mean()) < 0.003
    wrong = betting.holds(margin, floor=FLOOR, delta=0.1).sum()
    assert wrong <= binom.ppf(0.999, SAMPLES, 0.1)


def test_a_clear_saving_is_certified_by_500_rows() -> None:
    draw = np.random.default_rng(3).random((400, 500))
    margin = np.where(draw < 0.005, -FLOOR, np.where(draw < 0.8, 1 - FLOOR, 0.0))
    assert betting.holds(margin, floor=FLOOR, delta=0.1).mean() > 0.95


def test_what_is_never_worse_needs_no_more_than_the_fewest_rows() -> None:
    always = np.where(np.arange(250) % 5 < 4, 1 - FLOOR, 0.0)
    assert betting.holds(always, floor=FLOOR, delta=0.1)


@given(rewards, floors, st.sampled_from([0.1, 0.01]))
def test_a_floor_holds_exactly_where_the_bound_is_above_it(pair, floor, delta) -> None:
    route, reference = pair
    at_least = betting.lower(
        route, reference=reference, weight=np.ones(len(route)), floor=floor, delta=delta
    )
    holds = bool(betting.holds(route - floor * reference, floor=floor, delta=delta))
    assert holds == (at_least >= floor)


@given(rewards, floors, st.integers(0, 59))
def test_a_stake_knows_nothing_of_its_own_row_or_later_ones(pair, floor, place) -> None:
    margin = pair[0] - floor * pair[1]
    place = min(place, len(margin) - 1)
    other = margin.copy()
    other[place:] = 1 - floor - other[place:]
    both = [betting.stakes(one, floor=floor, delta=0.1)[: place + 1] for one in (margin, other)]
    assert (both[0] == both[1]).all()
    assert (both[0] > 0).all()


@given(rewards, floors)
def test_no_row_can_take_more_than_half_of_the_capital(pair, floor) -> None:
    margin = pair[0] - floor * pair[1]
    left = 1 + betting.stakes(margin, floor=floor, delta=0.05) * margin
    assert (left >= 0.5 - 1e-12).all()


@given(rewards, floors)
def test_more_reward_at_the_same_stakes_is_never_less_capital(pair, floor) -> None:
    route, reference = pair
    bets = betting.stakes(route - floor * reference, floor=floor, delta=0.1)
    better = np.minimum(route + 0.1, 1.0)
    less, more = (
        betting.log_capital(earned - floor * reference, bets=bets) for earned in (route, better)
    )
    assert more >= less

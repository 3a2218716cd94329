"""A budget: what is spent is as near to it as one step, and no other choice gains much more."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from cluster.errors import InputError
from cluster.policies import leftover, load_policy
from cluster.policies.policy import Scored, text_numbers
from cluster.routers.router import Prediction

ROWS = 6
# Coarse values make ties; a candidate is at times unknown.
values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, np.nan])
prices = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5])
rewards = arrays(float, (ROWS, 3), elements=values).map(
    lambda matrix: np.where(np.isnan(matrix).all(axis=1)[:, None], 0.5, matrix)
)
costs = arrays(float, (ROWS, 3), elements=prices)


def texts_of(rows: int) -> pl.Series:
    return pl.Series([f"question {row}" for row in range(rows)], dtype=pl.String)


def in_parts(reward, cost, *, texts, allowed=None, size=4):
    """The passes over a file stored in parts of `size` rows."""
    numbers = text_numbers(texts)

    def scored():
        for start in range(0, len(reward), size):
            rows = slice(start, start + size)
            prediction = Prediction(reward[rows], np.ones_like(reward[rows]))
            yield Scored(
                prediction,
                numbers[rows],
                cost[rows],
                allowed if allowed is None or allowed.ndim == 1 else allowed[rows],
            )

    return scored


def spend(reward, cost, *, texts=None, allowed=None, size=4, **settings):
    """The settled policy, and what it chooses."""
    texts = texts_of(len(reward)) if texts is None else texts
    passes = in_parts(reward, cost, texts=texts, allowed=allowed, size=size)
    policy = load_policy("budget", settings=settings).settle(passes)
    prediction = Prediction(reward, np.ones_like(reward))
    return policy, policy.choose(prediction, texts=texts, cost=cost, allowed=allowed)


def cheapest(reward, cost):
    return np.where(np.isnan(reward), np.inf, cost).min(axis=1)


@given(rewards, costs, st.floats(0, 1))
def test_it_is_never_above_the_budget_and_within_a_step_of_the_best_there_is(
    reward, cost, share
) -> None:
    least = cheapest(reward, cost).sum()
    budget = least + share * (np.where(np.isnan(reward), 0, cost).max(axis=1).sum() - least)
    policy, chosen = spend(reward, cost, usd_total=budget)
    rows = np.arange(ROWS)
    spent = cost[rows, chosen].sum()
    assert spent <= budget + 1e-9
    assert policy.facts()["expected_usd"] == pytest.approx(spent)
    gained = reward[rows, chosen].sum()
    known = [[c for c in range(3) if not np.isnan(reward[row, c])] for row in range(ROWS)]
    every = [np.array(each) for each in itertools.product(*known)]
    best = max(reward[rows, c].sum() for c in every if cost[rows, c].sum() <= budget + 1e-9)
    # The first step that does not fit would have been worth at most the largest one there is.
    assert best - gained <= 1.0 + 1e-9
    if not policy.facts()["binds"]:
        assert gained == pytest.approx(np.nanmax(reward, axis=1).sum())


@given(rewards, costs, st.floats(0, 1))
def test_parts_and_the_order_of_rows_change_no_choice(reward, cost, share) -> None:
    budget = cheapest(reward, cost).sum() * (1 + share) + 1e-9
    order = np.random.default_rng(0).permutation(ROWS)
    texts = texts_of(ROWS)
    policy, chosen = spend(reward, cost, usd_total=budget)
    again, shuffled = spend(
        reward[order], cost[order], texts=texts[order.tolist()], usd_total=budget, size=1
    )
    assert (policy.lambda_usd, policy.number) == (again.lambda_usd, again.number)
    assert (chosen[order] == shuffled).all()


def bound(reward, cost, budget: float) -> float:
    """The most reward there is if queries could be split between candidates."""
    n, m = reward.shape
    each = np.repeat(np.eye(n), m, axis=1)
    found = linprog(-reward.ravel(), cost.ravel()[None], [budget], each, np.ones(n), (0, 1))
    return float(-found.fun)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("tied", [False, True])
def test_a_file_spends_its_budget_to_a_percent_and_gains_what_a_linear_program_does(
    share, tied
) -> None:
    rng = np.random.default_rng(3)
    reward, cost = rng.random((600, 4)), rng.random((600, 4)) * np.array([1, 3, 10, 30]) / 1000
    if tied:  # as of a router that knows four kinds of query and a price a call
        reward, cost = reward[rng.integers(0, 4, 600)], np.tile([1, 3, 10, 30], (600, 1)) / 1000
    least, most = cost.min(axis=1).sum(), cost[np.arange(600), reward.argmax(axis=1)].sum()
    budget = least + share * (most - least)
    _, chosen = spend(reward, cost, usd_per_1000=budget / 0.6, size=70)
    rows = np.arange(600)
    assert 0.99 * budget <= cost[rows, chosen].sum() <= budget * (1 + 1e-12)
    assert reward[rows, chosen].sum() >= bound(reward, cost, budget) - 1


def test_what_a_repeated_text_is_too_large_for_goes_to_others() -> None:
    rng = np.random.default_rng(1)
    texts = pl.Series(["again"] * 400 + [f"question {row}" for row in range(600)])
    gain = np.append(np.full(400, 0.5), rng.random(600))
    reward, cost = np.column_stack([np.zeros(1000), gain]), np.tile([1.0, 2.0], (1000, 1))
    # The best 200 steps are those of texts of their own; 400 alike are more than what is left.
    for extra in (200, 450, 700):
        _, chosen = spend(reward, cost, texts=texts, usd_total=1000 + extra)
        assert len(set(chosen[:400])) == 1
        assert 0.99 * (1000 + extra) <= 1000 + chosen.sum() <= 1000 + extra


@given(rewards, costs, arrays(bool, (ROWS, 3)), st.floats(0, 1), st.sampled_from([1, 3, 1 << 18]))
def test_rows_of_one_text_that_may_go_elsewhere_are_paid_for_all_together(
    reward, cost, allowed, share, window
) -> None:
    reward = np.nan_to_num(reward)
    allowed[~allowed.any(axis=1), 0] = True
    texts = pl.Series(["again"] * 4 + ["other"] * 2)
    least = np.where(allowed, cost, np.inf).min(axis=1).sum()
    budget = least + share * (np.where(allowed, cost, 0).max(axis=1).sum() - least)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leftover, "WINDOW", window)
        policy, chosen = spend(reward, cost, texts=texts, allowed=allowed, usd_total=budget)
    spent = cost[np.arange(ROWS), chosen].sum()
    assert spent <= budget + 1e-9
    assert policy.facts()["expected_usd"] == pytest.approx(spent)


def test_more_than_the_best_costs_buys_nothing_more() -> None:
    reward, cost = np.array([[0.2, 0.9], [0.5, 0.5]]), np.array([[1.0, 4.0], [1.0, 4.0]])
    policy, chosen = spend(reward, cost, usd_total=100)
    assert chosen.tolist() == [1, 0]
    facts = policy.facts()
    assert not facts["binds"]
    assert (facts["budget_usd"], facts["expected_usd"]) == (100, 5)


def test_too_little_is_refused_with_what_would_be_enough() -> None:
    reward, cost = np.full((3, 2), 0.5), np.tile([1.0, 2.0], (3, 1))
    with pytest.raises(InputError, match=r"--usd-total 2.*cost 3 USD"):
        spend(reward, cost, usd_total=2)
    with pytest.raises(InputError, match=r"--usd-per-1000 999.*cost 1000 USD per 1,000"):
        spend(reward, cost, usd_per_1000=999)
    spend(reward, cost, usd_per_1000=1000)


def test_what_is_not_allowed_or_has_no_known_cost_is_neither_paid_for_nor_chosen() -> None:
    reward = np.array([[0.1, 0.9, 1.0]] * 4)
    cost = np.array([[1.0, 2.0, np.nan]] * 4)
    allowed = np.array([[True, row % 2 == 0, True] for row in range(4)])
    policy, chosen = spend(reward, cost, usd_total=100, allowed=allowed)
    assert chosen.tolist() == [1, 0, 1, 0]
    assert policy.facts()["expected_usd"] == 6


def test_one_budget_is_asked_for() -> None:
    with pytest.raises(InputError, match="usd_per_1000 or usd_total"):
        load_policy("budget")
    with pytest.raises(InputError, match="usd_per_1000 or usd_total"):
        load_policy("budget", settings={"usd_total": 1, "usd_per_1000": 1})


def test_an_empty_file_costs_nothing() -> None:
    policy, chosen = spend(np.zeros((0, 2)), np.zeros((0, 2)), usd_per_1000=0.5)
    assert len(chosen) == 0
    assert policy.facts()["expected_usd"] == 0

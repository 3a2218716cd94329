"""Policies: a choice depends on its own row alone, and money is never spent for nothing."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.errors import InputError
from cluster.policies import load_policy
from cluster.routers.router import Prediction

ROWS = 12
unit = st.floats(0, 1, allow_nan=False, width=32)
matrices = arrays(float, (ROWS, 3), elements=unit)
TEXTS = pl.Series([f"question {row}" for row in range(ROWS)])


def choose(reward, *, cost=None, texts=TEXTS, policy="best", **settings):
    prediction = Prediction(reward=reward, completion_tokens=np.ones(reward.shape))
    return load_policy(policy, settings=settings).choose(prediction, texts=texts, cost=cost)


@given(matrices, st.permutations(range(ROWS)))
def test_the_order_of_rows_changes_no_choice(reward, order) -> None:
    order = np.array(order)
    shuffled = choose(reward[order], texts=TEXTS[order.tolist()])
    assert (shuffled == choose(reward)[order]).all()


@given(matrices)
def test_best_chooses_a_highest_reward(reward) -> None:
    picked = reward[np.arange(ROWS), choose(reward)]
    assert (picked == reward.max(axis=1)).all()


@given(matrices, matrices)
def test_utility_without_lambda_is_best(reward, cost) -> None:
    assert (choose(reward, cost=cost, policy="utility", lambda_usd=0) == choose(reward)).all()


@given(matrices, matrices, st.floats(0, 10), st.floats(0, 10))
def test_a_higher_lambda_never_spends_more(reward, cost, one, other) -> None:
    low, high = sorted((one, other))
    rows = np.arange(ROWS)
    spent = [
        cost[rows, choose(reward, cost=cost, policy="utility", lambda_usd=price)].sum()
        for price in (low, high)
    ]
    assert spent[1] <= spent[0] + 1e-9


def test_ties_are_spread_evenly_and_by_the_text_alone() -> None:
    texts = pl.Series([f"text {row}" for row in range(3000)])
    choices = choose(np.zeros((3000, 3)), texts=texts)
    assert np.bincount(choices, minlength=3).min() > 900
    alone = choose(np.zeros((1, 3)), texts=texts[1234:1235])
    assert alone[0] == choices[1234]


def test_the_unknown_is_never_chosen_and_nothing_to_choose_is_refused() -> None:
    reward = np.array([[np.nan, 0.1, 0.0]])
    assert choose(reward, texts=TEXTS[:1])[0] == 1
    with pytest.raises(InputError, match="no candidate to choose"):
        choose(np.full((1, 3), np.nan), texts=TEXTS[:1])


def test_wrong_names_and_settings_are_told() -> None:
    with pytest.raises(InputError, match="known: best, budget"):
        load_policy("cheapest")
    with pytest.raises(InputError, match="lambda_usd"):
        load_policy("utility", settings={"lambda_usd": -1})
    with pytest.raises(InputError, match="prices"):
        choose(np.zeros((1, 2)), texts=TEXTS[:1], policy="utility", lambda_usd=1.0)


@given(matrices, arrays(bool, (ROWS, 3)))
def test_what_is_not_allowed_in_a_row_is_not_chosen_there(reward, allowed) -> None:
    allowed[~allowed.any(axis=1), 0] = True
    prediction = Prediction(reward=reward, completion_tokens=np.ones(reward.shape))
    chosen = load_policy("best").choose(prediction, texts=TEXTS, allowed=allowed)
    rows = np.arange(ROWS)
    assert allowed[rows, chosen].all()
    assert (reward[rows, chosen] == np.where(allowed, reward, -1).max(axis=1)).all()

"""quality_floor: never dearer than its reference, and row by row."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.errors import InputError
from cluster.policies.load import load_policy
from cluster.routers.router import Prediction

ROWS, NAMES = 12, ("cheap", "strong", "odd")
unit = st.floats(0, 1, allow_nan=False, width=32)
matrices = arrays(float, (ROWS, 3), elements=unit)
with_gaps = arrays(float, (ROWS, 3), elements=unit | st.just(float("nan")))
taus = st.floats(-1, 1, allow_nan=False)
TEXTS = pl.Series([f"question {row}" for row in range(ROWS)])
STRONG = NAMES.index("strong")


def choose(reward, cost, *, tau, texts=TEXTS, allowed=None, **settings):
    given = {"floor": 0.9, "reference": "strong", "tau": tau} | settings
    policy = load_policy("quality_floor", settings=given).among(NAMES)
    prediction = Prediction(reward=reward, completion_tokens=np.ones(reward.shape))
    return policy.choose(prediction, texts=texts, cost=cost, allowed=allowed)


@given(with_gaps, with_gaps, taus)
def test_who_is_chosen_is_good_enough_and_no_dearer(reward, cost, tau) -> None:
    chosen = choose(reward, cost, tau=tau)
    for row in np.flatnonzero(chosen != STRONG):
        assert reward[row, chosen[row]] >= reward[row, STRONG] - tau
        assert cost[row, chosen[row]] <= cost[row, STRONG]


@given(matrices, matrices, taus, taus)
def test_a_higher_tau_never_spends_more_on_any_row(reward, cost, one, other) -> None:
    rows = np.arange(ROWS)
    spent = [cost[rows, choose(reward, cost, tau=tau)] for tau in sorted((one, other))]
    assert (spent[1] <= spent[0]).all()


@given(matrices, matrices, taus, st.permutations(range(ROWS)))
def test_the_order_of_rows_changes_no_choice(reward, cost, tau, order) -> None:
    index = np.array(order)
    shuffled = choose(reward[index], cost[index], tau=tau, texts=TEXTS[order])
    assert (shuffled == choose(reward, cost, tau=tau)[index]).all()


def test_the_ends_are_the_reference_alone_and_the_cheapest() -> None:
    reward, cost = np.tile([0.2, 0.9, 0.5], (3, 1)), np.tile([1.0, 9.0, 2.0], (3, 1))
    assert set(choose(reward, cost, tau=None, texts=TEXTS[:3])) == {STRONG}
    assert set(choose(reward, None, tau=None, texts=TEXTS[:3])) == {STRONG}
    assert set(choose(reward, cost, tau=0.5, texts=TEXTS[:3])) == {NAMES.index("odd")}
    assert set(choose(reward, cost, tau=1.0, texts=TEXTS[:3])) == {NAMES.index("cheap")}


def test_a_dearer_candidate_is_not_chosen_though_it_is_better() -> None:
    assert choose(np.array([[0.9, 0.5, 0.1]]), np.array([[3.0, 2.0, 1.0]]), tau=0.0)[0] == STRONG


def test_where_no_cost_is_known_the_rank_by_price_decides() -> None:
    reward, unknown = np.array([[0.8, 0.9, 0.85]]), np.full((1, 3), np.nan)
    ranks = {"by_price": (("odd",), ("cheap",), ("strong",))}
    assert choose(reward, unknown, tau=0.2, **ranks)[0] == NAMES.index("odd")
    assert choose(reward, unknown, tau=0.2)[0] == STRONG
    known = np.array([[1.0, 3.0, 2.0]])
    assert choose(reward, known, tau=0.2, **ranks)[0] == NAMES.index("cheap")


def test_of_candidates_of_one_price_the_best_is_chosen() -> None:
    unknown, ranks = np.full((1, 3), np.nan), {"by_price": (("cheap", "odd"), ("strong",))}
    assert choose(np.array([[0.8, 0.9, 0.85]]), unknown, tau=0.2, **ranks)[0] == NAMES.index("odd")
    assert choose(np.array([[0.85, 0.9, 0.8]]), unknown, tau=0.2, **ranks)[0] == 0


@given(with_gaps, with_gaps, taus | st.none(), arrays(bool, (ROWS, 3)))
def test_whoever_is_left_of_the_eligible_can_be_chosen(reward, cost, tau, allowed) -> None:
    prediction = Prediction(reward=reward, completion_tokens=np.ones(reward.shape))
    settings = {"floor": 0.9, "reference": "strong", "tau": tau}
    policy = load_policy("quality_floor", settings=settings).among(NAMES)
    left = allowed & policy.eligible(prediction, cost=cost)
    rows = left.any(axis=1)
    chosen = choose(reward[rows], cost[rows], tau=tau, texts=TEXTS.filter(rows), allowed=left[rows])
    assert left[rows][np.arange(rows.sum()), chosen].all()


def test_what_may_not_be_chosen_is_not() -> None:
    reward, cost = np.array([[0.9, 0.9, 0.9]]), np.array([[1.0, 3.0, 2.0]])
    only = np.array([False, True, True])
    assert choose(reward, cost, tau=0.0, allowed=only)[0] == NAMES.index("odd")
    others = np.array([[True, False, True]])
    assert choose(np.array([[0.4, 0.9, 0.6]]), cost, tau=0.1, allowed=others)[0] == 2


def test_wrong_settings_are_told() -> None:
    with pytest.raises(InputError, match="floor"):
        load_policy("quality_floor", settings={"floor": 1.2, "reference": "strong"})
    with pytest.raises(InputError, match="needs the candidates' prices"):
        choose(np.ones((1, 3)), None, tau=0.0, texts=TEXTS[:1])
    stranger = load_policy("quality_floor", settings={"floor": 0.9, "reference": "gone"})
    with pytest.raises(InputError, match="gone: not among"):
        stranger.among(NAMES)


def test_drift_breaks_a_promise_and_nothing_else() -> None:
    settings = {"floor": 0.9, "reference": "strong", "tau": 0.1}
    certified = load_policy("quality_floor", settings=settings).among(NAMES)
    assert certified.needs_file
    with pytest.raises(InputError, match="another mix; collect some of these queries"):
        certified.heeding("another mix")
    settled = certified.heeding(None).settle(lambda: iter(()))
    assert not settled.needs_file
    assert settled.facts() == certified.facts()
    nothing = load_policy("quality_floor", settings=settings | {"tau": None}).among(NAMES)
    assert not nothing.needs_file
    assert nothing.heeding("another mix") == nothing

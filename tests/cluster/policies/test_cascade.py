"""A cascade: the cheapest that will do, with answers and without."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.errors import InputError
from cluster.policies.cascade import NOBODY, Cascade
from cluster.policies.policy import Scored, text_numbers
from cluster.routers.router import Prediction

ROWS = 8
TEXTS = pl.Series([f"question {row}" for row in range(ROWS)])
coarse = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
matrices = arrays(float, (ROWS, 3), elements=coarse)
NOTHING_ALLOWED = arrays(bool, (ROWS, 3))


def predicted(reward) -> Prediction:
    return Prediction(np.asarray(reward, dtype=float), np.ones_like(reward, dtype=float))


@given(matrices, matrices, NOTHING_ALLOWED, coarse)
def test_without_answers_the_cheapest_that_is_good_enough_or_else_the_best(
    reward, cost, allowed, accept_from
) -> None:
    allowed[:, 1] |= ~allowed.any(axis=1)
    chosen = Cascade(accept_from=accept_from).choose(
        predicted(reward), texts=TEXTS, cost=cost, allowed=allowed
    )
    for row, column in enumerate(chosen):
        may = np.flatnonzero(allowed[row])
        good = [each for each in may if reward[row, each] >= accept_from]
        assert column in may
        if good:
            assert cost[row, column] == min(cost[row, each] for each in good)
        else:
            assert reward[row, column] == max(reward[row, each] for each in may)


@given(matrices, NOTHING_ALLOWED)
def test_in_rounds_everyone_who_may_is_asked_once_by_rising_cost(cost, allowed) -> None:
    allowed[:, 2] |= ~allowed.any(axis=1)
    cascade, prediction = Cascade(accept_from=2), predicted(np.zeros((ROWS, 3)))
    columns = cascade.first(prediction, cost=cost, allowed=allowed)
    asked = [[int(column)] for column in columns]
    for _ in range(3):
        assert not cascade.accepts(prediction, columns=columns, texts=TEXTS).any()
        found = cascade.following(prediction, columns=columns, cost=cost, allowed=allowed)
        for row in np.flatnonzero(found != NOBODY):
            asked[row].append(int(found[row]))
        columns = np.where(found == NOBODY, columns, found)
    for row, order in enumerate(asked):
        assert sorted(order) == np.flatnonzero(allowed[row]).tolist()
        assert (np.diff(cost[row, order]) >= 0).all()


def test_an_answer_is_accepted_by_what_is_expected_after_it_is_read() -> None:
    after = predicted([[0.9, 0.2], [0.9, 0.7]])
    accepted = Cascade(accept_from=0.6).accepts(after, columns=np.array([1, 1]), texts=TEXTS[:2])
    assert accepted.tolist() == [False, True]


def test_of_a_pair_so_many_go_on_as_were_asked_for() -> None:
    rng = np.random.default_rng(0)
    after = predicted(rng.random((ROWS, 2)))
    cascade = Cascade(strong_share=0.25)
    assert cascade.needs_file
    assert not cascade.needs_cost
    first = cascade.first(after)
    assert (first == 1).all()
    settled = cascade.settle(lambda: [Scored(after, text_numbers(TEXTS))])
    assert isinstance(settled, Cascade)
    goes_on = ~settled.accepts(after, columns=first, texts=TEXTS)
    gain = after.reward[:, 0] - after.reward[:, 1]
    assert np.flatnonzero(goes_on).tolist() == sorted(np.argsort(-gain)[:2].tolist())
    assert (settled.following(after, columns=first) == 0).all()
    assert (settled.following(after, columns=np.zeros(ROWS, dtype=np.int64)) == NOBODY).all()


def test_what_is_missing_is_told() -> None:
    with pytest.raises(ValueError, match="accept_from, strong_share or threshold"):
        Cascade()
    with pytest.raises(InputError, match="needs the candidates' prices"):
        Cascade(accept_from=0.5).choose(predicted(np.zeros((1, 2))), texts=TEXTS[:1])

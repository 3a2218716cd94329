"""A strong and a weak candidate: the share of strong calls is the one that was asked for."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.errors import InputError
from cluster.policies import load_policy
from cluster.policies.policy import Scored, text_numbers
from cluster.routers.router import Prediction

ROWS = 20
rewards = arrays(float, (ROWS, 2), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
TEXTS = pl.Series([f"question {row}" for row in range(ROWS)])


def calls(reward, *, texts=TEXTS, allowed=None, policy="threshold", **settings):
    """The settled policy, and which rows call the strong candidate."""
    prediction = Prediction(np.asarray(reward), np.ones_like(reward))
    passes = [Scored(prediction, text_numbers(texts), allowed=allowed)]
    settled = load_policy(policy, settings=settings).settle(lambda: passes)
    again = load_policy(policy, settings=settled.model_dump())
    return settled, again.choose(prediction, texts=texts, allowed=allowed) == 0


@given(rewards, st.floats(0, 1))
def test_the_share_is_exact_however_many_scores_are_tied(reward, share) -> None:
    _, strong = calls(reward, strong_share=share)
    assert strong.sum() == round(share * ROWS)
    gain = reward[:, 0] - reward[:, 1]
    if 0 < strong.sum() < ROWS:
        assert gain[strong].min() >= gain[~strong].max()


@given(rewards, st.floats(-1, 1), st.permutations(range(ROWS)))
def test_a_fixed_threshold_decides_each_row_alone(reward, threshold, order) -> None:
    settled, strong = calls(reward, threshold=threshold)
    assert not settled.needs_file
    assert (strong == (reward[:, 0] - reward[:, 1] >= threshold)).all()
    _, shuffled = calls(reward[order], texts=TEXTS[list(order)], threshold=threshold)
    assert (shuffled == strong[order]).all()


def test_one_that_may_not_be_asked_is_not_and_a_forced_strong_call_counts() -> None:
    reward = np.tile([0.9, 0.1], (ROWS, 1))
    allowed = np.ones((ROWS, 2), dtype=bool)
    allowed[:4, 1] = allowed[4:10, 0] = False
    settled, strong = calls(reward, allowed=allowed, strong_share=0.5)
    assert settled.facts()["forced"] == 4
    assert strong[:4].all()
    assert not strong[4:10].any()
    assert strong[10:].sum() == 6
    settled, strong = calls(reward, allowed=allowed, strong_share=0.1)
    assert np.flatnonzero(strong).tolist() == [0, 1, 2, 3]
    assert settled.facts() == {"strong_share": 0.1, "forced": 4}
    _, strong = calls(reward, allowed=allowed, strong_share=1)
    assert strong.sum() == ROWS - 6


def test_two_of_many_candidates_are_found_by_name() -> None:
    policy = load_policy("threshold", settings={"threshold": 0, "strong": "c", "weak": "a"})
    policy = policy.among(("a", "b", "c"))
    prediction = Prediction(np.array([[0.1, 0.9, 0.2], [0.3, 0.9, 0.2]]), np.ones((2, 3)))
    assert policy.choose(prediction, texts=TEXTS[:2]).tolist() == [2, 0]
    assert policy.eligible(prediction).tolist() == [[True, False, True]] * 2


def test_a_pair_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(InputError, match=r"has 3 .*name two with --strong and --weak"):
        load_policy("threshold", settings={"threshold": 0}).among(("a", "b", "c"))
    with pytest.raises(InputError, match="'d' is not a candidate"):
        load_policy("threshold", settings={"threshold": 0, "strong": "d", "weak": "a"}).among(
            ("a", "b")
        )
    with pytest.raises(InputError, match="strong_share or threshold"):
        load_policy("threshold")
    with pytest.raises(InputError, match="give both or neither"):
        load_policy("threshold", settings={"threshold": 0, "strong": "a"})

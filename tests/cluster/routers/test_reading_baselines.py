"""Baselines that run every candidate: voting and reward-model ranking."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.routers import rmr, voting


def vote(*answers):
    names = [f"m{number}" for number in range(len(answers))]
    frame = pl.DataFrame([answers], schema=dict.fromkeys(names, pl.String), orient="row")
    return voting.route(frame)[0].tolist()


def test_the_same_number_said_in_other_words_is_one_answer():
    said = ("So she pays $1,234.", "The answer is 1234.00", "It is 99")
    assert vote(*said) == [0.5, 0.5, 0]


def test_the_same_letter_is_one_answer():
    assert vote("(B) because 3 > 2", "The answer is B.", "C") == [0.5, 0.5, 0]


def test_the_same_text_is_one_answer_and_equals_share():
    assert vote("Paris.", "paris", "Rome") == [0.5, 0.5, 0]
    assert vote("Paris", "Rome", "Oslo", "oslo", "ROME") == pytest.approx([0, *[0.25] * 4])


def test_missing_answers_have_no_vote():
    assert vote("7", None, None) == [1, 0, 0]
    assert vote(None, None) == [0.5, 0.5]
    assert vote("", "  ", "yes") == [0, 0, 1]


@given(st.lists(st.sampled_from([None, "1", "2", "B", "yes", ""]), min_size=2, max_size=6))
def test_a_vote_is_a_lottery_over_who_answered(answers):
    shares = vote(*answers)
    assert sum(shares) == pytest.approx(1)
    for one, share in zip(answers, shares, strict=True):
        for other, same in zip(answers, shares, strict=True):
            assert one != other or share == same


@pytest.fixture
def measured(make_outcomes):
    return make_outcomes(["q", "r", "s"], ["t"] * 3, [[1, 0], [0, 1], [1, 1]])


def test_ranking_is_matched_by_query_and_candidate(measured):
    liked = replace(
        measured,
        queries=measured.queries[[2, 0, 1]],
        candidates=measured.candidates[::-1],
        reward=np.array([[3.0, 3.0], [9.0, 1.0], [5.0, np.nan]]),
    )
    assert rmr.route(liked, measured).tolist() == [[0, 1], [0, 1], [0.5, 0.5]]


def test_what_was_not_ranked_is_refused(measured):
    with pytest.raises(InputError, match="no score of query 'train-2' and 0 others"):
        rmr.route(measured.take(np.array([0, 1])), measured)
    fewer = replace(measured, candidates=("adder", "other"))
    with pytest.raises(InputError, match="no score of candidate 'roman'"):
        rmr.route(fewer, measured)

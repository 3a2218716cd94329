"""Probability of the right option from the first token's logprobs."""

import json
import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.rewards.gold_option import GoldOption, option_probabilities, options

QUERY = "Which one?\nA. red\nB. green\nC. blue\nD. none"
LOGPROBS = st.floats(min_value=-30, max_value=0)


def rate(logprobs: object, *, reference: str | None = "B", query: str = QUERY) -> tuple:
    kept = logprobs if isinstance(logprobs, str | None) else json.dumps(logprobs)
    answers = pl.DataFrame(
        {"query": [query], "text": ["B"], "reference": [reference], "first_logprobs": [kept]},
        schema_overrides={"reference": pl.String, "first_logprobs": pl.String},
    )
    return GoldOption().rate(answers).ratings.row(0)


def test_the_right_options_share_of_the_options():
    logprobs = {"B": math.log(0.5), "A": math.log(0.25), "The": math.log(0.2), "J": math.log(0.05)}
    value, raw, reason = rate(logprobs)
    assert (value, raw) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert reason is None


def test_spellings_of_a_letter_add_up():
    logprobs = {" B": math.log(0.2), "(B": math.log(0.1), "▁B": math.log(0.1), "A": math.log(0.1)}
    assert rate(logprobs)[0] == pytest.approx(0.8)


def test_a_wrong_first_choice_is_worth_nothing_and_keeps_the_probability():
    value, raw, reason = rate({"A": math.log(0.6), "B": math.log(0.2)})
    assert (value, raw) == (0.0, pytest.approx(0.25))
    assert reason == "A is likelier"


def test_words_are_no_options():
    assert rate({"a": -0.1, "I": -0.2, "Because": -0.3, "Bus": -0.1})[0] == 0.0
    assert "no option" in rate({"a": -0.1})[2]


@pytest.mark.parametrize("reference", [None, " "])
def test_no_reference_no_reward(reference):
    assert rate({"B": -1.0}, reference=reference) == (None, None, None)


def test_what_is_missing_is_said():
    assert "sampling: {logprobs: 20}" in rate(None)[2]
    assert "not a letter" in rate({"B": -1.0}, reference="Paris")[2]


@pytest.mark.parametrize(
    "kept", ["", "[1]", "{", '{"B": "x"}', '{"B": null}', '{"B": NaN}', f'{{"B": -1{"0" * 400}}}']
)
def test_broken_logprobs_are_no_reward(kept):
    value, _, reason = rate(kept)
    assert value is None
    assert "first_logprobs" in reason


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (QUERY, "ABCD"),
        ("Pick: (A) x (B) y (C) z", "ABC"),
        ("**A)** x\n**B)** y", "AB"),
        ("What is vitamin C. good for?", "ABCDEFGHIJ"),
        ("", "ABCDEFGHIJ"),
    ],
)
def test_the_query_lists_the_options(query, expected):
    assert options(query) == expected


@given(logprobs=st.dictionaries(st.sampled_from("ABCD"), LOGPROBS, min_size=1), shift=LOGPROBS)
@settings(deadline=None)
def test_they_are_probabilities_and_only_differences_count(logprobs, shift):
    probabilities = option_probabilities(logprobs, letters="ABCD")
    assert sum(probabilities.values()) == pytest.approx(1.0)
    assert max(probabilities.values()) == probabilities[max(logprobs, key=logprobs.__getitem__)]
    shifted = {token: logprob + shift for token, logprob in logprobs.items()}
    assert option_probabilities(shifted, letters="ABCD") == pytest.approx(probabilities)


@given(logprobs=st.dictionaries(st.sampled_from("ABCD"), LOGPROBS, min_size=1))
@settings(deadline=None)
def test_at_most_one_option_is_right_unless_they_tie(logprobs):
    values = [rate(logprobs, reference=letter)[0] for letter in "ABCD"]
    likeliest = [value for value in values if value > 0]
    assert likeliest
    assert all(value == pytest.approx(likeliest[0]) for value in likeliest)


@given(kept=st.text(), reference=st.text(), query=st.text())
@settings(deadline=None)
def test_any_text_is_read(kept, reference, query):
    value, _, _ = rate(kept, reference=reference, query=query)
    assert value is None or 0.0 <= value <= 1.0

"""Words an answer shares with its reference."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.rewards.f1 import TokenF1

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "猫", "犬"]), min_size=1, max_size=8)


def reward(text: str, reference: str, **settings_of: str) -> float | None:
    answers = pl.DataFrame({"query": ["q"], "text": [text], "reference": [reference]})
    return TokenF1(**settings_of).score(answers).item()


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("The cat sat.", "a cat sat down", 0.8),
        ("don’t", "dont", 1.0),
        ("PARIS!", "paris", 1.0),
        ("blue blue", "blue", 2 / 3),
        ("blue", "blue blue", 2 / 3),
        ("猫が好き", "猫 好き", 6 / 7),
        ("แมว", "แม", 4 / 5),
        ("the", "The", 1.0),
        ("...", "...", 1.0),
        ("", "x", 0.0),
        ("green", "red", 0.0),
    ],
)
def test_the_share_of_words(text, reference, expected):
    assert reward(text, reference) == pytest.approx(expected)


def test_the_best_of_several_references_counts():
    assert reward("big apple", "New York|the Big Apple| ", alternatives="|") == 1.0
    assert reward("big apple", "New York|the Big Apple") < 1.0
    assert reward("big apple", " | ", alternatives="|") is None


@given(said=WORDS, right=WORDS)
@settings(deadline=None)
def test_it_is_symmetric_and_one_only_for_the_same_words(said, right):
    value = reward(" ".join(said), " ".join(right))
    assert value == pytest.approx(reward(" ".join(right), " ".join(said)))
    assert (value == 1.0) == (sorted(said) == sorted(right))
    assert (value == 0.0) == (not set(said) & set(right))

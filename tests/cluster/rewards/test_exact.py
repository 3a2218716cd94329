"""Exact match: what is one answer and what is another."""

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cluster.rewards.exact import ExactMatch, normalised


def reward(text: str | None, reference: str | None, *, alternatives: str | None = None):
    answers = pl.DataFrame(
        {"query": ["q"], "text": [text], "reference": [reference]},
        schema={"query": pl.String, "text": pl.String, "reference": pl.String},
    )
    return ExactMatch(alternatives=alternatives).score(answers).item()


def normal(text: str) -> str:
    return pl.DataFrame({"text": [text]}).select(normalised(pl.col("text"))).item()


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Paris", "paris"),
        (" Paris.\n", "Paris"),
        ("**Paris**.", "Paris"),
        ("“New   York”", "new\nyork"),
        ("STRASSE", "Straße"),
        ("ﬁve", "five"),
        ("Ｐａｒｉｓ！", "paris"),
        ("Cafe\u0301", "CAFÉ"),
        ("¿Qué?", "qué"),
        ("...", "..."),
    ],
)
def test_the_same_answer(text, reference):
    assert reward(text, reference) == 1.0


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("The Who", "Who"),
        ("a cat", "cat"),
        ("-5", "5"),
        ("5%", "5"),
        ("C#", "C"),
        ("(1, 2)", "[1, 2]"),
        ("Paris, France", "Paris"),
        ("The answer is Paris", "Paris"),
        ("", "Paris"),
        ("...", "???"),
        ("newyork", "new york"),
    ],
)
def test_another_answer(text, reference):
    assert reward(text, reference) == 0.0


def test_any_of_the_alternatives_will_do():
    assert reward("the big apple", "New York| The Big Apple |", alternatives="|") == 1.0
    assert reward("NYC", "New York|The Big Apple", alternatives="|") == 0.0
    assert reward("", "New York||", alternatives="|") == 0.0
    assert reward("new york|nyc", "New York|NYC") == 1.0
    assert reward("New York", "New York|NYC") == 0.0
    assert reward("x", "a.b", alternatives=".") == 0.0


@pytest.mark.parametrize("reference", [None, "", "  \n", "\x1f", "|", " | "])
def test_no_reference_no_reward(reference):
    assert reward("Paris", reference, alternatives="|") is None


@settings(deadline=None)
@given(st.text())
def test_normalising_again_changes_nothing(text):
    assert normal(normal(text)) == normal(text)


@settings(deadline=None)
@given(st.text(), st.sampled_from(['"{}"', "**{}**", " {}. ", "“{}”!", "\t{}\n", "'{}'.", "{}"]))
def test_decoration_white_space_and_case_do_not_matter(text, decoration):
    assume(any(character.isalnum() for character in text))
    spread = "  ".join(text.split(" "))
    assert normal(decoration.format(spread.upper())) == normal(text.upper())


@settings(deadline=None)
@given(st.text(), st.text())
def test_equality_is_symmetric(first, second):
    assume(normal(first) and normal(second))
    assert reward(first, second) == reward(second, first) == float(normal(first) == normal(second))

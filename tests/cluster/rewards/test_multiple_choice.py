"""Which letter an answer chooses, and when it chooses none."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.rewards.multiple_choice import MultipleChoice, chosen_letter, reference_letter

LETTERS = "ABCDEFGHIJ"


def reward(text: str | None, reference: str | None):
    answers = pl.DataFrame(
        {"query": ["q"], "text": [text], "reference": [reference]},
        schema={"query": pl.String, "text": pl.String, "reference": pl.String},
    )
    return MultipleChoice().score(answers).item()


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize(
    "form",
    [
        "{}", "({})", "{}.", "{})", "[{}]", "**{}**", "{}) text", "{}. Some text", "({}) a text",
        "Answer: {}", "answer: ({})", "**Answer:** {}", "**Answer: {}**", "Answer:\n\n{}",
        "The answer is {}.", "The correct answer is ({})", "The correct option is {}) Paris",
        "The answer is $ {} $", "The answer is {} because of that.", "the best answer: option {}.",
        "Final Answer: The final answer is $\\boxed{{{}}}$.", "\\boxed{{\\text{{{}}}}}",
        "{} is correct", "Option {} is the right one", "Let me think.\n\n{}", "{} - text",
        "I would go with option ({}).", "Of all these, choice {} fits.", "  {}\n",
        "A) cat\nB) dog\nC) cow\nAnswer: {}", "I think (A) and (B) are wrong. The answer is {}",
    ],
)  # fmt: skip
def test_a_letter_is_read(letter, form):
    assert chosen_letter(form.format(letter)) == letter


@pytest.mark.parametrize("letter", LETTERS.lower())
@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "{}) text", "Answer: {}", "answer is {}."])
def test_a_small_letter_is_read(letter, form):
    assert chosen_letter(form.format(letter)) == letter.upper()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A dog ran home",
        "a dog",
        "The answer is A dog",
        "The answer is a dog",
        "I think so",
        "Answer: I think it is blue",
        "e.g. this",
        "vitamin C is good",
        "C++",
        "C-section",
        "Berlin",
        "The answer is Berlin",
        "K",
        "42",
        "A: well",
        "\\boxed{A dog}",
        "D's",
        "The answer is not B",
    ],
)
def test_no_letter_is_made_up(text):
    assert chosen_letter(text) is None


@pytest.mark.parametrize(
    "form",
    [
        "{} or {}", "{} and {}", "{}, {}", "{}/{}", "({}) and ({})", "Both ({}) and ({})",
        "Answer: {} or {}", "The answer is {} and {}.", "\\boxed{{{}, {}}}", "\\boxed{{{} or {}}}",
        "The answer is {}. The answer is {}.", "{}) cat\n{}) dog", "{}\n{}", "{} and {} are right",
        "The correct answer is either {} or {}", "either option {} or option {}", "{} & {}",
    ],
)  # fmt: skip
@settings(deadline=None, max_examples=30)
@given(pair=st.permutations("ABCDEFGHJ").map(lambda letters: letters[:2]))
def test_two_letters_are_no_choice(form, pair):
    assert reward(form.format(*pair), pair[0]) == 0.0
    assert reward(form.format(*pair), pair[1]) == 0.0


def test_the_same_letter_twice_is_one_choice():
    assert chosen_letter("The answer is (B). So again: the answer is B.") == "B"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b\n", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B) Paris", "B"),
        ("A. Paris", "A"),
        ("A dog", None),
        ("B or C", None),
        ("K", None),
        ("1", None),
        ("Paris", None),
        ("", None),
    ],
)
def test_what_a_reference_is(text, letter):
    assert reference_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("B", "b", 1.0),
        ("B", "C", 0.0),
        ("Ｂ", "B", 1.0),
        ("Ⓑ", "B", 1.0),
        ("no idea", "B", 0.0),
        ("", "B", 0.0),
        ("B", "Paris", None),
        ("B", None, None),
        (None, "B", None),
    ],
)
def test_rewards(text, reference, expected):
    assert reward(text, reference) == expected


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(LETTERS), st.text(alphabet=" \t\n", max_size=6), st.text(alphabet=" \n"))
def test_white_space_around_does_not_matter(letter, before, after):
    assert chosen_letter(f"{before}({letter}){after}") == letter


@settings(deadline=None, max_examples=30)
@given(st.text(), st.sampled_from(LETTERS))
def test_the_box_wins_whatever_stands_before_it(before, letter):
    assert chosen_letter(f"{before}\\boxed{{{letter}}}") == letter

"""Reading a number the way it was meant, and when two are one."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.rewards.numeric import Numeric, extract_number


def reward(text: str | None, reference: str | None, **settings: float):
    answers = pl.DataFrame(
        {"query": ["q"], "text": [text], "reference": [reference]},
        schema={"query": pl.String, "text": pl.String, "reference": pl.String},
    )
    return Numeric(**settings).score(answers).item()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.50", "1234.5"),
        ("$20.00", "20"),
        ("-$20", "-20"),
        ("$-20$", "-20"),
        ("-\\$1,000.50", "-1000.5"),
        ("\\boxed{1{,}234}", "1234"),
        ("\\boxed{12\\,345}", "12345"),
        ("\\boxed{- 5}", "-5"),
        ("\\boxed{\\frac{1}{2}}", "0.5"),
        ("\\boxed{-\\dfrac{3}{4}}", "-0.75"),
        ("\\frac12", "0.5"),
        ("#### 42", "42"),
        ("####-3", "-3"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("–5 °C", "-5"),
        ("(-3)", "-3"),
        ("3/4", "0.75"),
        ("1 3/4", "1.75"),
        ("1½", "1.5"),
        ("-½", "-0.5"),
        ("3⁄4", "0.75"),
        ("1,000/8", "125"),
        ("3/4/2024", "2024"),
        ("50%", "50"),
        ("50 \\%", "50"),
        ("7 per cent", "7"),
        ("1.5e-3", "0.0015"),
        ("2E6", "2000000"),
        ("1.5 × 10^{-3}", "0.0015"),
        ("3 \\times 10^5", "300000"),
        ("6×10²³", "6e23"),
        ("10⁵", "100000"),
        ("1 234,50", "1234.5"),
        ("1.234,50", "1234.5"),
        ("1.234.567", "1234567"),
        ("1\u00a0234\u202f567,89", "1234567.89"),
        ("1'234", "1234"),
        ("1_000_000", "1000000"),
        ("12,34,567", "1234567"),
        ("1.234", "1.234"),
        ("3,14", "14"),
        ("**42**", "42"),
        ("x = 42", "42"),
        ("x=-42", "-42"),
        ("5-10", "10"),
        (".5", "0.5"),
        ("wait...5", "5"),
        ("The answer is 42.", "42"),
        ("in 2024, 15 apples", "15"),
        ("25 m²", "25"),
        ("25\\text{ cm}^2", "25"),
        ("90^\\circ", "90"),
        ("4 of H2O", "4"),
        ("答案是-5", "-5"),
        ("４２", "42"),
        ("١٢٣", "123"),
        ("007", "7"),
    ],
)
def test_a_number_is_read_whole(text, number):
    assert extract_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none", "H2O", "x_2", "m^2", "2^10", "3/0", "-", "$", "."])
def test_no_number(text):
    assert extract_number(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 3. \\boxed{1} and \\boxed{2}, #### 4. So 5", 2),
        ("\\boxed{x_1 = 7 \\text{ m}^2} 9", 7),
        ("\\boxed{5", 5),
        ("\\boxed 5 apples\n6", 5),
        ("\\boxed{} so 8", 8),
        ("\\boxed{\\text{none}}\n#### 8", 8),
        ("The answer is 3.\n#### 4\nDone in 5 steps", 4),
        ("#### Step 1: add\nThe answer is 12 because 3 + 9 = 12, as in 1999.", 12),
        ("#### 1. Add\n7 and 8", 8),
        ("##### 1\n7 and 8", 8),
        ("#### **$18.00**", 18),
        ("Answer: 5 * 8 = $40 for 2 people", 40),
        ("**Answer:** 42 (= 40 + 2)", 42),
        ("The answer is **42** (= 40 + 2)", 42),
        ("Final answer:\n\n42\n\nThanks, 1000 times", 42),
        ("The answer to question 3 is 17 apples, not 18.", 17),
        ("The answer is 1. No: the answer is 2, not 3", 2),
        ("The answer is easy: we count\n4 apples and 5 pears", 5),
        ("the ANSWER = 6 of 7", 6),
    ],
)
def test_where_the_answer_says_its_result(text, number):
    assert extract_number(text) == number


DECORATIONS = [
    "{}",
    "**{}**",
    "The answer is {}.",
    "So x = {}",
    "\\boxed{{{}}}",
    "It took 7 steps, 12 in all.\n#### {}",
    "In 2024, of 15 apples: {} apples.",
    "Answer: ${}$, not 5",
    "$\\boxed{{{}}}$ is 3 more than before",
    "({})",
    "“{}”",
]
FORMATS = ["{}", "{:,}", "${}", "{}%", "{} m²", "{:,} kg", "{}\\%", "+{}"]


@settings(deadline=None)
@given(
    value=st.decimals(-(10**12), 10**12, places=3) | st.integers(-(10**15), 10**15),
    form=st.sampled_from(FORMATS),
    decoration=st.sampled_from(DECORATIONS),
    minus=st.sampled_from(["-", "−", "–"]),
)
def test_a_written_number_is_read_back(value, form, decoration, minus):
    if form == "+{}":
        value = abs(value)
    written = form.format(value).replace("-", minus)
    assert extract_number(decoration.format(written)) == value


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(DECORATIONS))
def test_a_float_is_read_back(value, decoration):
    assert float(extract_number(decoration.format(repr(value)))) == value


@settings(deadline=None)
@given(
    st.integers(-999, 999), st.integers(1, 999), st.sampled_from(["{}/{}", "\\frac{{{}}}{{{}}}"])
)
def test_a_fraction_is_read_back(numerator, denominator, form):
    written = form.format(numerator, denominator)
    number = extract_number(f"The answer is {written}.")
    assert abs(number * denominator - numerator) < Decimal("1e-40")


@settings(deadline=None)
@given(
    st.integers(0, 10**12),
    st.sampled_from(["\u00a0", "\u202f", "\u2009", "{,}", "\\,", "'", "’", ",", "_"]),
)
def test_thousands_are_one_number(value, separator):
    written = f"{value:,}".replace(",", separator)
    assert extract_number(f"about {written} people") == value


@settings(deadline=None)
@given(st.text(), st.text())
def test_the_box_wins_whatever_stands_around_it(before, after):
    assert extract_number(f"{before}\\boxed{{-12.5}}{after.replace('boxed', '')}") == Decimal(
        "-12.5"
    )


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("$1,234.50", "1234.5", 1.0),
        ("20", "$20.00", 1.0),
        ("00", "$20.00", 0.0),
        ("1/3", "2/6", 1.0),
        ("0.3333333", "1/3", 1.0),
        ("0.33", "1/3", 0.0),
        ("-5", "5", 0.0),
        ("1000001", "1000000", 1.0),
        ("1000002", "1000000", 0.0),
        ("999998", "1000000", 0.0),
        ("0.0000001", "0", 0.0),
        ("-0", "0.00", 1.0),
        ("1e999999999", "1e-999999999", 0.0),
        ("1e999999999", "10e999999998", 1.0),
        ("50%", "0.5", 1.0),
        ("0.5", "50%", 1.0),
        ("50%", "50", 1.0),
        ("50", "50%", 1.0),
        ("0.5%", "50%", 0.0),
        ("5", "50%", 0.0),
        ("no number", "5", 0.0),
        ("", "5", 0.0),
        ("5", "She has 2 + 3 = <<2+3=5>>5 apples.\n#### 5", 1.0),
        ("5", "no number", None),
        ("5", "", None),
        ("5", None, None),
        (None, "5", None),
    ],
)
def test_when_two_numbers_are_one(text, reference, expected):
    assert reward(text, reference) == expected


def test_tolerance_is_relative_to_the_reference():
    assert reward("101", "100", tolerance=0.01) == 1.0
    assert reward("101.1", "100", tolerance=0.01) == 0.0
    assert reward("0.101", "0.1", tolerance=0.01) == 1.0
    assert reward("-101", "-100", tolerance=0.01) == 1.0


def test_no_tolerance_wants_every_digit():
    digits = "1" * 70
    assert reward(digits, digits, tolerance=0.0) == 1.0
    assert reward(digits[:-1] + "2", digits, tolerance=0.0) == 0.0

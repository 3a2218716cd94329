"""Expressions that are equal, however they are written."""

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.candidate import Resources
from cluster.rewards.math import Math


@pytest.fixture(scope="module")
def rate():
    """Two workers for all; 2 s an answer."""
    with Math(seconds=2, memory_mb=512, resources=Resources(cpus=2)).open() as rate:

        def rows(*pairs: tuple[str | None, str | None]) -> list[tuple]:
            schema = {"text": pl.String, "reference": pl.String}
            answers = pl.DataFrame(pairs, schema=schema, orient="row")
            return rate(answers.with_columns(query=pl.lit("q"))).ratings.drop("raw").rows()

        yield rows


def test_the_same_expression(rate):
    pairs = [
        ("so $\\frac{1}{2}$", "0.5"),
        ("so it is \\boxed{1,234}", "1234"),
        ("The answer is 42.", "He has 40+2. #### 42"),
        ("hence $\\{3,-3\\}$", "$\\{-3,3\\}$"),
        ("1/2", "\\frac12"),
        ("$[0,1)$", "[0,1)"),
        ("$x^2+2x+1$", "(x+1)^2"),
        ("\\boxed{x=5}", "5"),
        ("10%", "0.1"),
        ("\\boxed{\\begin{pmatrix}1\\\\2\\end{pmatrix}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("1 " * 500_000 + "so $7$", "7"),
    ]
    assert [value for value, _ in rate(*pairs)] == [1.0] * len(pairs)


def test_another_expression(rate):
    pairs = [("$\\frac{1}{3}$", "0.5"), ("$[0,1]$", "[0,1)"), ("\\boxed{-5}", "5"), ("5", "$5x$")]
    assert rate(*pairs) == [(0.0, None)] * len(pairs)


def test_what_holds_no_expression(rate):
    found, unread, *missing = rate(
        ("I do not know.", "7"), ("7", "words alone"), (None, "7"), ("7", None), ("7", " ")
    )
    assert found == (0.0, "no expression found")
    assert unread == (None, "the reference: no expression found")
    assert missing == [(None, None)] * 3


@pytest.mark.parametrize(
    "hostile",
    ["(9**9**9**9)", "$\\sum_{n=1}^{10^9} \\sin(n)^{n}$"],
)
def test_an_answer_without_end_is_stopped_and_the_next_is_judged(rate, hostile):
    (value, reason), after = rate((hostile, "1"), ("$1$", "1"))
    assert value == 0.0
    assert reason in ("time limit of 2 s", "memory limit")
    assert after == (1.0, None)


def test_a_reference_without_end_takes_no_reward_away(rate):
    ((value, reason),) = rate(("1", "$9^{9^{9^{9}}}$"))
    assert value is None
    assert reason.startswith("the reference: ")


def test_code_in_an_answer_is_not_run(rate, tmp_path):
    made = tmp_path / "made"
    code = f"__import__('pathlib').Path('{made}').touch()"
    forms = (code, f"${code}$", f"\\boxed{{{code}}}", f"answer: {code}", f"$\\text{{{code}}}+1$")
    rate(*((form, "1") for form in forms))
    assert not made.exists()


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(text=st.text(alphabet="0123456789.,-+/^_${}()[]\\=xyfracsqrt \n", max_size=40))
def test_any_text_is_judged(rate, text):
    ((value, _),) = rate((text, "7"))
    assert value in (0.0, 1.0)


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(top=st.integers(-999, 999), bottom=st.integers(1, 99), other=st.integers(-999, 999))
def test_fractions_agree_exactly_where_they_are_equal(rate, top, bottom, other):
    text = f"thus $\\frac{{{top}}}{{{bottom}}}$"
    ((value, _),) = rate((text, f"{other}/{bottom}"))
    assert value == float(top == other)

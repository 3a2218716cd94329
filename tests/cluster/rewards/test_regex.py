"""A regular expression the answer has to match."""

import polars as pl
import pytest

from cluster.rewards.regex import Regex


def rate(pairs: list[tuple[str | None, str | None]], **settings_of) -> list[tuple]:
    answers = pl.DataFrame(
        [("q", *pair) for pair in pairs],
        schema={"query": pl.String, "text": pl.String, "reference": pl.String},
        orient="row",
    )
    return Regex(**settings_of).rate(answers).ratings.select("value", "reason").rows()


def test_each_reference_is_a_pattern():
    pairs = [("it is 42", r"\b4\d\b"), ("it is 142", r"\b4\d\b"), ("a", None), (None, "a")]
    assert [value for value, _ in rate(pairs)] == [1.0, 0.0, None, None]


def test_one_pattern_for_all_needs_no_reference():
    assert rate([("YES.", None), ("no", "yes")], pattern="yes", ignore_case=True) == [
        (1.0, None),
        (0.0, None),
    ]


def test_the_whole_answer_has_to_match():
    pairs = [(" yes\n", "yes|no"), ("yes or no", "yes|no")]
    assert [value for value, _ in rate(pairs)] == [1.0, 1.0]
    assert [value for value, _ in rate(pairs, whole=True)] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(cat", "unclosed group"),
        ("x(?=y)", "look-around"),
        (r"(x)\1", "backreferences"),
        ("(a{1000}){1000}", "size limit"),
    ],
)
def test_a_broken_pattern_is_named_and_the_others_count(pattern, fault):
    (value, reason), sound = rate([("cat", pattern), ("cat", "c.t")])
    assert value is None
    assert repr(pattern) in reason
    assert fault in reason
    assert sound == (1.0, None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)+$", "(a|aa)+$", "(.*)*x", "^(a?){50}a{50}$"])
def test_no_pattern_hangs(pattern):
    assert rate([("a" * 50_000 + "b", pattern)]) == [(0.0, None)]

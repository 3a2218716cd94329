"""Reading what a judge wrote: strict JSON, JSON in prose, bare words; nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.rewards.judge_verdict import parse_grade, parse_verdict, unparsable

PROSE = st.text(alphabet="abc def.\n\t🙂四", max_size=30)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ('{"reason": "ok", "grade": 4}', 4),
        ('{"reason": "say {\\"grade\\": 1}", "grade": 5}', 5),
        ('```json\n{"grade": "3"}\n```', 3),
        ("Grade: 4/5", 4),
        ("The grade is **2**.", 2),
        ("score = 5.0", 5),
        ("[[3]]", 3),
        ("4", 4),
        (" 1.\n", 1),
        ('{"grade": 6}', None),
        ('{"grade": 0}', None),
        ('{"grade": 4.5}', None),
        ('{"grade": null}', None),
        ('{"grade": [4]}', 4),
        ('{"reason": "it is 5"', None),
        ("grade: 3 … grade: 4", None),
        ("score of 10", None),
        ("-4", None),
        ("I give it a four", None),
        ("", None),
        ("{" * 100_000, None),
        ("grade" * 20_000, None),
        ("[" * 100_000, None),
    ],
)
def test_grades(text, grade):
    assert parse_grade(text) == grade


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"reason": "ok", "verdict": "A"}', "first"),
        ('{"reason": "verdict: A", "verdict": "B"}', "second"),
        ('Sure! {"verdict": "tie"} Bye.', "tie"),
        ("My verdict: [[B]]", "second"),
        ("[[C]]", "tie"),
        ("Verdict: tie", "tie"),
        ("b", "second"),
        ("Answer A", "first"),
        ('{"verdict": "both"}', None),
        ("[[A]] or [[B]]", None),
        ("A is better than B", None),
        ("verdict: Absolutely", None),
        ("verdict: A is worse, B better", None),
        ("Verdict: A is worse", None),
        ("Verdict: **A** is worse", None),
        ("verdict: A, though B is better", None),
        ("Verdict: A or B", None),
        ("verdict: tie is not possible, B", None),
        ("A is short, B is right.\n**Verdict: B**\n", "second"),
        ('{"reason": "B is worse", "verdict": "A"', "first"),
        ("", None),
    ],
)
def test_verdicts(text, verdict):
    assert parse_verdict(text) == verdict


@given(grade=st.integers(1, 5), reason=st.text(max_size=40), before=PROSE, after=PROSE)
def test_json_in_prose_is_found(grade, reason, before, after):
    said = before + json.dumps({"reason": reason, "grade": grade}) + after
    assert parse_grade(said) == grade


@given(st.text(max_size=200) | st.text(alphabet='{}[]":,123456789 grade verdict AB\\', max_size=99))
def test_any_text_is_read(text):
    assert parse_grade(text) in (None, 1, 2, 3, 4, 5)
    assert parse_verdict(text) in (None, "first", "second", "tie")
    assert unparsable(text).startswith("unparsable: ")
    assert len(unparsable(text)) < 600

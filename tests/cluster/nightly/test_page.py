"""What a night says of itself: the verdict, and a page that shows names as text."""

from typing import Any

import pytest

from cluster.nightly.page import page
from cluster.nightly.words import subject, verdict, why, words

HOSTILE = "<script>alert(1)</script>"


def night(**changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "night": "abc-3", "number": 3, "began": "2026-01-01", "lake": "/lake", "dataset": HOSTILE,
        "files": [], "left": [], "new": {"queries": 0, "answers": 0, "rewards": 0},
        "answers": [], "rewards": [], "admissions": [], "drift": None, "routers": [],
        "spent_usd": 0.0, "max_usd": 0.0, "stopped": False, "training": [], "table": [],
        "alarms": [], "rows": {}, "begun": {}, "decision": None, "champion": None, "unasked": [],
        "abandoned": None, "unavailable": None, "candidates": [],
    }  # fmt: skip
    told |= changes
    return told | {"verdict": verdict(told), "why": why(told)}


DECISION = {
    "version": "v" * 64,
    "method": HOSTILE,
    "promoted": True,
    "why": HOSTILE,
    "comparisons": [{"against": HOSTILE, "gain": 0.1, "low": 0.05, "high": 0.2, "n": 50}],
}
FULL = night(
    files=[{"uri": HOSTILE, "rows": 3, "new_queries": 2, "broken": 1}],
    left=[{"uri": HOSTILE, "why": "is empty as yet"}],
    new={"queries": 2, "answers": 4, "rewards": 4},
    answers=[
        {"dataset": HOSTILE, "name": HOSTILE, "required": 4, "done": 3, "errors": 1, "truncated": 0}
    ],
    rewards=[{"scorer": HOSTILE, "dataset": HOSTILE, "new": 4, "without_reward": 1, "mean": 0.5}],
    admissions=[
        {"batch": HOSTILE, "labels": 4, "verdict": "refused", "why": "no fit", "refused": ["a"]}
    ],
    drift={"words": HOSTILE, "alarms": [HOSTILE], "drift": None, "router": "r", "queries": 5},
    routers=[{"method": HOSTILE, "version": "v" * 64, "validation_macro_reward": None}],
    rows={"train": 5},
    unasked=[{"dataset": HOSTILE, "queries": 1234, "scorers": ["exact", "f1"]}],
    stopped=True,
    abandoned={"number": 2, "why": HOSTILE},
    unavailable={"version": "v" * 64, "candidates": [HOSTILE]},
    decision=DECISION,
)


def test_names_are_shown_as_text_wherever_they_stand() -> None:
    html = page(FULL).decode()
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") > 10


def test_a_night_with_everything_says_it() -> None:
    told = "\n".join(words(FULL))
    said = ("promoted", "left for the next night", "--max-usd", "kept out", "drift")
    for part in (
        *said,
        "not asked: 1,234 queries",
        "night 2 was abandoned",
        "not in the candidate file",
    ):
        assert part in told
    assert "is champion now" in subject(FULL)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "nothing new"),
        ({"new": {"queries": 1, "answers": 0, "rewards": 0}}, "nothing to learn from"),
        ({"routers": FULL["routers"]}, "not measured"),
        ({"decision": DECISION | {"promoted": False}}, "kept"),
        ({"decision": DECISION}, "promoted"),
    ],
)
def test_how_a_night_ended(changes: dict[str, Any], expected: str) -> None:
    told = night(**changes)
    assert told["verdict"] == expected
    assert expected in words(told)[0]
    page(told)


def test_queries_that_nobody_is_there_to_answer_are_told_of() -> None:
    new = {"queries": 1, "answers": 0, "rewards": 0}
    assert "give a candidate file" in night(new=new)["why"]
    assert "candidate file" not in night(new=new, candidates=["a"])["why"]
    assert "candidate file" not in night(new={"queries": 0, "answers": 0, "rewards": 1})["why"]

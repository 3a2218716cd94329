"""What a policy did, in words."""

import pytest

from cluster.policies.load import POLICIES
from cluster.routing.policy_words import policy_words

FLOOR = {"floor": 0.95, "delta": 0.1, "reference": "large", "tau": 0.04, "calibration": "c-1"}


def test_a_floor_s_promise_is_told_with_what_it_does_not_promise():
    said = " ".join(policy_words("quality_floor", facts=FLOOR))
    assert "probability at least 0.9" in said
    assert "at least 0.95 times that of large" in said
    assert "It says nothing about one file" in said
    assert "at most 0.04 below that of large" in said
    nothing = {name: value for name, value in FLOOR.items() if name != "tau"}
    said = " ".join(policy_words("quality_floor", facts=nothing))
    assert "No saving was certified, so every query goes to large" in said


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("best", {}, "highest predicted reward"),
        ("utility", {"lambda_usd": 3}, "lambda is 3 reward per USD"),
        (
            "budget",
            {"usd_per_1000": 0.5, "budget_usd": 5, "expected_usd": 4.9, "lambda_usd": 2},
            "5 USD here, of which 4.9 USD",
        ),
        ("budget", {"usd_total": 7, "binds": False}, "enough for the best candidate"),
        ("threshold", {"strong_share": 0.3, "at": 0.1}, "30 % that gain most"),
        ("threshold", {"strong_share": 0.3, "at": 0.1}, "just that as many as the share has room"),
        ("threshold", {"threshold": 0.2, "strong": "a", "weak": "b"}, "a instead of b"),
        ("threshold", {"strong_share": 0.3, "forced": 1200}, "For 1,200 queries nobody but"),
        ("cascade", {"accept_from": 0.8}, "at least 0.8"),
        ("cascade", {"strong_share": 0.3}, "The weak candidate comes first"),
        ("nobody's", {}, ""),
    ],
)
def test_settings_and_what_was_settled_are_told(name, facts, words):
    assert words in " ".join(policy_words(name, facts=facts))


def test_every_policy_has_words():
    for name, kind in POLICIES.items():
        facts = dict.fromkeys(kind.model_fields, 1)
        assert policy_words(name, facts=facts)[0]

"""What a policy did, in words."""

import pytest

from cluster.policies.load import POLICIES
from cluster.routing.policy_words import policy_words

FLOOR = {"floor": 0.95, "delta": 0.1, "reference": "large", "tau": 0.04, "calibration": "c-1"}


def test_a_floor_s_promise_is_told_as_its_calibration_has_it():
    said = policy_words("quality_floor", facts=FLOOR | {"promise": "So it is."})
    assert said[0] == "So it is."
    assert "at most 0.04 below that of large" in said[1]
    assert said[2] == "Calibration c-1."


def test_without_a_calibration_nothing_is_promised():
    said = " ".join(policy_words("quality_floor", facts=FLOOR))
    assert "probability" not in said
    assert "at most 0.04 below that of large" in said


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

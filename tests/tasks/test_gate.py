"""The gate: compared with what could run instead, with the interval above zero."""

from typing import Any

import pytest

from tasks.gate import MARGIN, decide


def trained(*, champion: dict[str, float] | None = None, **metrics: float) -> dict[str, Any]:
    better = {
        "lift_over_best_single": 0.1,
        "lift_over_best_single_low": 0.05,
        "lift_over_best_single_high": 0.15,
        "macro_accuracy": 0.8,
    }
    routers = [
        {"method": "knn", "metrics": better | metrics},
        {"method": "worse", "metrics": dict.fromkeys(better, -1.0)},
    ]
    return {"routers": routers, "champion": champion}


def against_champion(low: float, *, cost: float = 1.0) -> dict[str, Any]:
    """Manifest of a train job whose champion costs 1.0."""
    champion = {"macro_accuracy": 0.79, "mean_cost_usd": 1.0}
    return trained(champion=champion, lift_over_champion_low=low, mean_cost_usd=cost)


def test_the_first_that_beats_the_best_single_is_champion() -> None:
    decision = decide(trained(), method="knn", champion=None)
    assert decision.promote
    assert "+0.1000" in decision.why
    assert "no champion" in decision.why


@pytest.mark.parametrize("low", [0.0, -0.01])
def test_an_interval_that_touches_zero_is_not_enough(low: float) -> None:
    decision = decide(trained(lift_over_best_single_low=low), method="knn", champion=None)
    assert not decision.promote
    assert "best single" in decision.why


def test_the_cost_matched_mix_must_be_beaten_where_there_is_one() -> None:
    mix = {"lift_over_cost_matched_mix": 0.02, "lift_over_cost_matched_mix_high": 0.05}
    for low, promoted in ((-0.01, False), (0.01, True)):
        given = trained(**mix, lift_over_cost_matched_mix_low=low)
        assert decide(given, method="knn", champion=None).promote == promoted


@pytest.mark.parametrize(
    ("low", "cost", "promoted"),
    [
        (0.001, 2.0, True),
        (0.0, 1.0, False),
        (-MARGIN / 2, 0.5, True),
        (-MARGIN / 2, 1.0, False),
        (-MARGIN * 2, 0.1, False),
    ],
)
def test_a_champion_falls_to_a_better_one_or_to_an_equal_one_that_is_cheaper(
    low: float, cost: float, promoted: bool
) -> None:
    decision = decide(against_champion(low, cost=cost), method="knn", champion="v1")
    assert decision.promote == promoted
    assert "against the champion" in decision.why


def test_who_does_not_beat_the_best_single_does_not_beat_a_champion_either() -> None:
    given = against_champion(0.5)
    given["routers"][0]["metrics"]["lift_over_best_single_low"] = -0.1
    assert not decide(given, method="knn", champion="v1").promote


def test_the_named_method_is_judged() -> None:
    assert not decide(trained(), method="worse", champion=None).promote

"""The gate: what must be beaten, and the words it gives."""

from typing import Any

import pytest

from tasks.gate import MARGIN, decide


def manifest(champion: dict[str, float] | None = None, **metrics: Any) -> dict[str, Any]:
    """A train manifest: each metric is (value, low, high)."""
    flat: dict[str, float] = {"macro_accuracy": 0.7, "mean_cost_usd": 1.0}
    for name, (value, low, high) in metrics.items():
        flat |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return {"routers": [{"method": "knn", "metrics": flat}], "champion": champion}


GOOD = (0.1, 0.05, 0.15)
UNSURE = (0.02, -0.01, 0.05)
CHAMPION = {"macro_accuracy": 0.65, "mean_cost_usd": 2.0}


def test_the_first_that_beats_best_single_becomes_champion() -> None:
    decision = decide(manifest(lift_over_best_single=GOOD), method="knn", champion=None)
    assert decision.promote
    assert "+0.1000" in decision.why


@pytest.mark.parametrize("lift", ["lift_over_best_single", "lift_over_cost_matched_mix"])
def test_an_interval_that_reaches_zero_is_not_enough(lift: str) -> None:
    lifts = {"lift_over_best_single": GOOD, "lift_over_cost_matched_mix": GOOD, lift: UNSURE}
    decision = decide(manifest(**lifts), method="knn", champion=None)
    assert not decision.promote
    assert lift.replace("_", " ") in decision.why


def test_a_champion_must_be_beaten_or_matched_for_less_money() -> None:
    base = {"lift_over_best_single": GOOD}

    def verdict(lift: tuple[float, float, float], champion: dict[str, float]) -> bool:
        trained = manifest(champion, lift_over_champion=lift, **base)
        return decide(trained, method="knn", champion="v1").promote

    assert verdict((0.05, 0.01, 0.09), CHAMPION)
    assert verdict((0.0, -MARGIN / 2, 0.02), CHAMPION)
    assert not verdict((0.0, -2 * MARGIN, 0.02), CHAMPION)
    assert not verdict((0.0, -MARGIN / 2, 0.02), CHAMPION | {"mean_cost_usd": 0.5})


def test_a_champion_that_cannot_be_measured_here_is_not_replaced() -> None:
    trained = manifest({}, lift_over_best_single=GOOD)
    decision = decide(trained, method="knn", champion="v1")
    assert not decision.promote
    assert "other candidates" in decision.why


def test_baselines_that_read_the_task_are_never_gated_on() -> None:
    lifts = {"lift_over_best_single": GOOD, "lift_over_task_lookup": (-0.3, -0.4, -0.2)}
    assert decide(manifest(**lifts), method="knn", champion=None).promote

"""Who becomes champion: better than all, or as good as the champion and cheaper; never downhill."""

import pytest

from cluster.gate.decision import (
    ANCHOR,
    BEST_SINGLE,
    CHAMPION,
    COST,
    COST_MATCHED_MIX,
    Comparison,
    decide,
)

GOOD, UNSURE, NEAR = (0.05, 0.01, 0.09), (0.02, -0.03, 0.06), (0.0, -0.008, 0.008)
CHEAPER, DEARER = (-0.001, -0.002, -0.0005), (0.001, -0.0005, 0.002)


def decided(*, there="v1", margin=0.01, **given):
    names = {
        "single": BEST_SINGLE,
        "mix": COST_MATCHED_MIX,
        "champion": CHAMPION,
        "cost": COST,
        "anchor": ANCHOR,
    }
    found = {"single": GOOD} | given
    comparisons = [Comparison(names[name], *values, n=100) for name, values in found.items()]
    return decide(comparisons, margin=margin, champion=there)


def test_the_first_must_beat_best_single() -> None:
    assert decided(there=None)[0] == "first"
    how, why = decided(there=None, single=UNSURE)
    assert how == ""
    assert "best single" in why
    assert "-0.0300" in why


@pytest.mark.parametrize("name", ["single", "mix"])
def test_nothing_that_could_run_instead_is_spared(name) -> None:
    assert decided(champion=GOOD, mix=GOOD)[0] == "better"
    assert decided(**({"champion": GOOD, "mix": GOOD} | {name: UNSURE}))[0] == ""


def test_a_champion_is_beaten_or_matched_for_less_money() -> None:
    assert decided(champion=GOOD, cost=DEARER)[0] == "better"
    assert decided(champion=NEAR, cost=CHEAPER)[0] == "cheaper"
    assert decided(champion=NEAR, cost=DEARER)[0] == ""
    assert decided(champion=NEAR)[0] == ""
    assert decided(champion=UNSURE, cost=CHEAPER)[0] == ""


def test_cheaper_ones_may_not_lead_downhill_a_margin_at_a_time() -> None:
    how, why = decided(champion=NEAR, cost=CHEAPER, anchor=UNSURE)
    assert how == ""
    assert "last better champion" in why
    assert decided(champion=NEAR, cost=CHEAPER, anchor=NEAR)[0] == "cheaper"

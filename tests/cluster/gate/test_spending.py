"""The error rate of a snapshot: never more than alpha in all, spent once a comparison."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gate.decision import Comparison, Decision
from cluster.gate.rules import GateRules
from cluster.gate.spending import decision_on, level, looks, note_decision, share, take_look
from cluster.lake.lake import Lake

RULES = GateRules(alpha=0.05, horizon=4)


def look(lake, comparison, *, rules=RULES, snapshot="s"):
    return take_look(
        lake, snapshot=snapshot, comparison=comparison, version="v", champion="", rules=rules
    )


def decision(*, how="", seen=True):
    rows = (Comparison("best single", 0.1, 0.05, 0.2, n=9),) if seen else ()
    return Decision(promote=bool(how), why="why", how=how, comparisons=rows)


@given(st.integers(1, 200))
def test_the_shares_of_all_looks_are_one(horizon) -> None:
    assert sum(share(i, horizon=horizon) for i in range(1, horizon + 5)) == pytest.approx(1)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_looks_that_ought_not_to_promote_never_have_more_than_alpha(promotes) -> None:
    """Whatever was rightly promoted before: until the first wrong one, what is risked adds up."""
    rules = GateRules(horizon=len(promotes))
    risked, handed_on = 0.0, 0.0
    for number, promoted in enumerate(promotes, start=1):
        own = level(number, rules=rules, handed_on=handed_on)
        risked += 0.0 if promoted else own
        handed_on = own if promoted else 0.0
    assert risked <= rules.alpha + 1e-12


def test_every_comparison_has_its_own_look_and_keeps_it(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    first, second = look(lake, "one"), look(lake, "two")
    assert (first.number, second.number) == (1, 2)
    assert look(lake, "one") == first
    assert look(lake, "one", snapshot="other").number == 1
    assert looks(lake, snapshot="s")["look"].to_list() == [1, 2]


def test_a_look_that_promoted_or_saw_nothing_hands_on_what_it_had(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    kept = look(lake, "kept")
    note_decision(lake, look=kept, version="v", decision=decision())
    promoted = look(lake, "promoted")
    assert promoted.level == pytest.approx(level(2, rules=RULES))
    note_decision(lake, look=promoted, version="v", decision=decision(how="better"))
    blind = look(lake, "blind")
    assert blind.level == pytest.approx(level(3, rules=RULES) + promoted.level)
    note_decision(lake, look=blind, version="v", decision=decision(seen=False))
    assert look(lake, "next").level == pytest.approx(level(4, rules=RULES) + blind.level)


def test_a_look_that_saw_nothing_is_closed_and_asking_again_is_another_look(tmp_path) -> None:
    """What it had was handed on, so it cannot be spent again; and what comes of it is kept."""
    lake = Lake.open(tmp_path)
    blind = look(lake, "one")
    note_decision(lake, look=blind, version="v", decision=decision(seen=False))
    other = look(lake, "two")
    note_decision(lake, look=other, version="w", decision=decision())
    again = look(lake, "one")
    assert (blind.number, other.number, again.number) == (1, 2, 3)
    assert other.level + again.level == pytest.approx(
        sum(level(number, rules=RULES) for number in (1, 2, 3))
    )
    note_decision(lake, look=again, version="v", decision=decision(how="cheaper"))
    kept = decision_on(lake, version="v")
    assert kept is not None
    assert kept.how == "cheaper"
    assert look(lake, "one") == again
    assert looks(lake, snapshot="s")["how"].to_list() == ["", "", "cheaper"]


def test_what_the_last_look_had_is_not_spent_behind_the_horizon(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    for number in range(4):
        last = look(lake, f"c{number}")
        note_decision(lake, look=last, version=f"v{number}", decision=decision(how="better"))
    assert look(lake, "late").level == 0
    assert level(5, rules=RULES, handed_on=last.level) == 0


def test_behind_the_horizon_nothing_is_left(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    for number in range(4):
        assert look(lake, f"c{number}").level > 0
    assert look(lake, "late").level == 0
    assert looks(lake, snapshot="s").height == 4


def test_looks_at_once_have_different_numbers(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: look(lake, name), ["a", "b", "c", "d"]))
    assert sorted(one.number for one in found) == [1, 2, 3, 4]

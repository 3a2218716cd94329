"""A cap holds, whoever spends and in whatever order they settle."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs.purse import Purse

MONEY = st.floats(min_value=0, max_value=10, allow_nan=False)


@given(
    cap=MONEY,
    turns=st.lists(st.tuples(st.lists(MONEY, max_size=4), st.floats(0, 1)), max_size=12),
)
def test_never_more_is_spent_than_the_cap_however_much_is_asked(cap, turns):
    purse = Purse(cap)
    running: list[tuple[float, float]] = []
    for costs, used in turns:
        n = purse.take(costs, patient=False)
        running.append((sum(costs[:n]), used))
        if len(running) > 2:
            taken, share = running.pop(0)
            purse.settle(set_aside=taken, spent=taken * share)
        assert purse.spent + purse.set_aside <= cap + 1e-9
    for taken, share in running:
        purse.settle(set_aside=taken, spent=taken * share)
    assert purse.spent <= cap + 1e-9
    assert purse.set_aside == pytest.approx(0, abs=1e-9)


def test_the_first_that_fit_are_taken_and_no_later_ones_in_their_place():
    purse = Purse(1.0)
    assert purse.take([0.4, 0.4, 0.4, 0.1], patient=False) == 2
    assert purse.take([0.4, 0.1], patient=False) == 0


def test_without_a_cap_everything_can_be_paid():
    assert Purse().take([1e9] * 3, patient=False) == 3


def test_who_is_patient_waits_for_what_others_leave():
    purse = Purse(1.0)
    assert purse.take([1.0], patient=False) == 1
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(purse.take([0.5], patient=True)))
    waiting.start()
    purse.settle(set_aside=1.0, spent=0.2)
    waiting.join(10)
    assert found == [1]


def test_who_is_patient_does_not_wait_when_nobody_has_anything_to_leave():
    purse = Purse(0.1)
    assert purse.take([0.5], patient=True) == 0

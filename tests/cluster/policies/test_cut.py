"""A cut takes by rising key what fits, in few passes, however the keys are spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.policies import cut as cutting
from cluster.policies.cut import Entries, falling, find_cut, value_of

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=2, max_size=30))
def test_orders_fall_as_values_rise_and_lead_back(values) -> None:
    values = np.array(values)
    order = falling(values)
    assert (np.diff(order[np.argsort(-values)].astype(object)) >= 0).all()
    assert [value_of(int(each)) for each in order] == values.tolist()


def in_two(entries: Entries):
    half = np.arange(len(entries.order)) < len(entries.order) // 2
    return lambda: iter((entries.where(half), entries.where(~half)))


def taken_by_hand(entries: Entries, *, limit: float) -> int:
    """How many of the sorted entries fit, those of one key together."""
    keys = sorted(
        zip(entries.order.tolist(), entries.numbers.tolist(), entries.weight.tolist(), strict=True)
    )
    fit, total = 0, 0.0
    while fit < len(keys):
        same = [key for key in keys if key[:2] == keys[fit][:2]]
        total += sum(weight for *_, weight in same)
        if total > limit:
            break
        fit += len(same)
    return fit


@pytest.mark.parametrize("window", [0, 3, 1 << 20])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([-2.0, 0.0, 1.0, 1.0 + 2**-52, 1e300]),
            st.sampled_from([0, 1, 2**63, 2**64 - 1]),
            st.integers(0, 4),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 90),
)
def test_what_is_taken_is_what_sorting_everything_takes(window, rows, limit) -> None:
    values, numbers, weight = zip(*rows, strict=True)
    entries = Entries(
        falling(np.array(values)), np.array(numbers, dtype=np.uint64), np.array(weight, dtype=float)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "WINDOW", window)
        found = find_cut(in_two(entries), limit=limit)
    expected = taken_by_hand(entries, limit=limit)
    if found is None:
        assert expected == len(rows)
        return
    before = entries.order < np.uint64(found.order)
    before |= (entries.order == np.uint64(found.order)) & (
        entries.numbers < np.uint64(found.number)
    )
    assert before.sum() == expected
    assert entries.weight[before].sum() == found.taken <= limit


def test_two_passes_are_enough_for_values_that_are_spread() -> None:
    rng = np.random.default_rng(0)
    entries = Entries(
        falling(rng.normal(size=5000)),
        rng.integers(0, 2**63, 5000).astype(np.uint64),
        np.ones(5000),
    )
    passes = []

    def each_pass():
        passes.append(1)
        return in_two(entries)()

    found = find_cut(each_pass, limit=1500)
    assert found is not None
    assert (found.taken, len(passes)) == (1500, 2)

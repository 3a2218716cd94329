"""Fixed-sequence testing: nothing after the first failure counts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.guarantee.sequence import NONE, Verdict, fixed_sequence

tables = st.tuples(st.integers(1, 5), st.integers(0, 8)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def walked(passes, decided):
    asked = []

    def test(setting, alive):
        asked.append((setting, alive.tolist()))
        return Verdict(passes[alive, setting], decided[alive, setting])

    last = fixed_sequence(test, n_settings=passes.shape[1], n_samples=len(passes))
    return last, asked


@given(tables)
def test_the_last_that_passed_before_the_first_failure(table) -> None:
    passes, decided = table
    last, _ = walked(passes, decided)
    for sample, found in enumerate(last):
        expected = NONE
        for setting in range(passes.shape[1]):
            if not decided[sample, setting]:
                continue
            if not passes[sample, setting]:
                break
            expected = setting
        assert found == expected


def test_a_sample_that_has_failed_is_asked_no_more() -> None:
    passes = np.array([[True, False, True], [True, True, True]])
    last, asked = walked(passes, np.ones_like(passes))
    assert last.tolist() == [0, 2]
    assert asked == [(0, [0, 1]), (1, [0, 1]), (2, [1])]

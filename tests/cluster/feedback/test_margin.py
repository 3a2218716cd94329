"""How sure a router is."""

import numpy as np
import pytest

from cluster.feedback.margin import margins

NAN = float("nan")


@pytest.mark.parametrize(
    ("row", "allowed", "gap"),
    [
        ([0.2, 0.9, 0.5], None, 0.4),
        ([0.9, 0.9, 0.5], None, 0.0),
        ([0.2, 0.9, 0.5], [True, False, True], 0.3),
        ([NAN, 0.9, 0.5], None, 0.4),
        ([NAN, 0.9, NAN], None, np.inf),
        ([0.2, 0.9, 0.5], [False, True, False], np.inf),
        ([0.7], None, np.inf),
    ],
)
def test_the_gap_between_the_two_best_that_count(row, allowed, gap):
    mask = None if allowed is None else np.array(allowed)
    assert margins(np.array([row]), allowed=mask).tolist() == [pytest.approx(gap)]


def test_a_mask_may_differ_from_row_to_row():
    reward = np.array([[0.1, 0.5, 0.9]] * 2)
    mask = np.array([[True, True, True], [True, True, False]])
    assert margins(reward, allowed=mask).tolist() == pytest.approx([0.4, 0.4])
    assert margins(np.zeros((0, 3))).tolist() == []

"""One rare task does not shut the gate; small tasks beside small ones stay."""

import numpy as np
import pytest

from cluster.gate.interval import Difference, bounds, macro_weights
from cluster.gate.rare import is_bearable


def tasks(*sizes):
    return np.repeat([f"t{number}" for number in range(len(sizes))], sizes)


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ((200, 200, 2), 400),
        ((200, 200, 19), 400),
        ((200, 200, 20), 420),
        ((10,) * 30, 300),
        ((40,) * 5 + (15,), 215),
        ((300,), 300),
        ((), 0),
    ],
)
def test_a_task_goes_that_is_short_and_heavy(sizes, kept) -> None:
    assert is_bearable(tasks(*sizes)).sum() == kept


def test_a_gain_on_five_tasks_is_found_in_spite_of_a_sixth_with_two_rows() -> None:
    rng = np.random.default_rng(0)
    names = rng.permutation(tasks(*(200,) * 5, 2))
    values = rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.5, 0.35], size=len(names))

    def low(rows):
        difference = Difference(values[rows], 1.0, np.abs(values[rows]))
        return bounds(difference, weights=macro_weights(names[rows]), level=0.003)[1]

    assert low(np.full(len(names), True)) < -0.5
    assert low(is_bearable(names)) > 0.05

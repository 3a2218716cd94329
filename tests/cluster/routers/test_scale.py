import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers.scale import Line, SharedScale
from cluster.state import State

SCORES = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])


def test_the_last_candidates_may_have_lines_of_their_own():
    shared = SharedScale(0.5, 2.0)
    scale = shared.with_line(Line(0.1, 1.0)).with_line(Line(0.0, 0.5))
    expected = np.column_stack([shared.reward(SCORES)[:, :1], 0.1 + SCORES[:, 1], SCORES[:, 2] / 2])
    assert np.array_equal(scale.reward(SCORES), expected)


@pytest.mark.parametrize(
    "scale", [SharedScale(0.5, 2.0), SharedScale(0.5, 2.0).with_line(Line(0.1, 1.0))]
)
def test_it_is_read_as_it_was_written(scale):
    assert SharedScale.from_state(scale.state()) == scale


def test_a_scale_from_before_there_were_newcomers_is_read():
    assert SharedScale.from_state(State({"offset": 0.5, "slope": 2.0})) == SharedScale(0.5, 2.0)


@pytest.mark.parametrize("later", ["x", [1.0], [[1.0]], [[1.0, "2"]]])
def test_damaged_lines_are_told(later):
    with pytest.raises(InputError, match=r"damaged checkpoint: .*'later'"):
        SharedScale.from_state(State({"offset": 0.5, "slope": 2.0, "later": later}))

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.routers.prompt_length import PromptLength, least_squares


def texts_of(lengths):
    return ["x" * length for length in lengths]


def test_longer_queries_that_gain_go_first(make_outcomes):
    lengths = [9, 19, 39, 79, 159, 319]
    reward = [[0.9, 0.9], [0.8, 0.9], [0.7, 0.9], [0.6, 0.9], [0.5, 0.9], [0.4, 0.9]]
    router = PromptLength().fit(make_outcomes(texts_of(lengths), ["t"] * 6, reward), seed=0)
    said = router.predict(pl.Series(texts_of([4, 49, 499, 4999]))).reward
    # Every doubling of 1 + length costs the first candidate 0.1; the second does not care.
    assert np.diff(said[:, 0]) == pytest.approx(-0.1 * np.log2(10), abs=1e-9)
    assert said[:, 1] == pytest.approx(0.9)
    assert (np.diff(said[:, 1] - said[:, 0]) > 0).all()


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(-1, 1)), min_size=3, max_size=20))
def test_the_line_is_that_of_least_squares(points):
    x, y = (np.array(each) for each in zip(*points, strict=True))
    intercept, slope = least_squares(x, y[:, None])[:, 0]
    if np.ptp(x) > 1e-3:
        assert [slope, intercept] == pytest.approx(np.polyfit(x, y, 1), abs=1e-6)
    if np.ptp(x) == 0:
        assert [slope, intercept] == pytest.approx([0.0, y.mean()], abs=1e-9)


def test_missing_cells_are_left_out_and_not_zero(make_outcomes):
    lengths = [9, 19, 39, 79]
    full = np.array([[0.8, 0.1], [0.6, 0.2], [0.4, 0.3], [0.2, 0.4]])
    holes = full.copy()
    holes[3, 0] = np.nan
    asked = pl.Series(texts_of([9, 79]))
    one, other = (
        PromptLength()
        .fit(make_outcomes(texts_of(lengths), ["t"] * 4, each), seed=0)
        .predict(asked)
        .reward
        for each in (full, holes)
    )
    assert one == pytest.approx(other)


def test_empty_texts_have_a_length_too(make_outcomes):
    outcomes = make_outcomes(["", "a", "ab"], ["t"] * 3, [[0.0, 1.0]] * 3)
    said = PromptLength().fit(outcomes, seed=0).predict(pl.Series([None, "", "abc"]))
    assert said.reward == pytest.approx(np.tile([0.0, 1.0], (3, 1)))
    assert np.isnan(said.completion_tokens).all()

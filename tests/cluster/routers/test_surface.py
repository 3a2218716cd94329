import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cluster.errors import InputError
from cluster.routers.surface import (
    N_BESIDE,
    N_SURFACE,
    Standard,
    beside,
    log_length,
    numbers,
    surface,
)
from cluster.state import State

TEXT = st.none() | st.text(max_size=40)


def texts(*values):
    return pl.Series(values, dtype=pl.String)


def test_length_counts_characters_and_not_bytes():
    lengths = log_length(texts("abc", "長長長", "", None))
    assert np.expm1(lengths) == pytest.approx([3, 3, 0, 0])


def test_counts_of_a_text():
    counts = np.expm1(surface(texts("Add 12 and 7.5.\n12 + 7 = 19!")))[0]
    assert counts.tolist() == pytest.approx([28, 6, 2, 1, 2, 2])


def test_an_answer_beside_its_query():
    found = beside(
        texts("Ann has 1,000 apples and eats 3."), answers=texts("Ann has 1000 - 4 = 996.00")
    )[0]
    # 1000 of {1000, 3} is taken up, 4 and 996.00 are new, one of three has a fraction, of zeros.
    assert found[:2] == pytest.approx([1 / 2, np.log1p(2)])
    assert found[2:8] == pytest.approx([1 / 3, 1, np.log1p(996), 1, 1, 0])
    assert found[8] == pytest.approx(2 / 5)


def test_a_result_that_the_query_holds_is_seen():
    assert beside(texts("from 7 and 8"), answers=texts("it is 7"))[0, 7] == 1
    assert beside(texts("from 7 and 8"), answers=texts("it is 9"))[0, 7] == 0


def test_numbers_have_no_commas_and_keep_their_fraction():
    frame = pl.DataFrame({"text": ["$1,234.50, then 12,5 or 3."]})
    assert frame.select(numbers(pl.col("text"))).item().to_list() == ["1234.50", "125", "3"]


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_any_text_has_finite_features(pairs):
    queries = texts(*(query for query, _ in pairs))
    answers = texts(*(answer for _, answer in pairs))
    plain, both = surface(queries), beside(queries, answers=answers)
    assert plain.shape == (len(pairs), N_SURFACE)
    assert both.shape == (len(pairs), N_BESIDE)
    assert np.isfinite(plain).all()
    assert np.isfinite(both).all()
    assert np.isfinite(log_length(queries)).all()


@given(hnp.arrays(np.float64, (7, 3), elements=st.integers(-1000, 1000).map(float)))
def test_standardised_columns(values):
    found = Standard.fit(values).apply(values)
    assert found.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    constant = (values == values[0]).all(axis=0)
    assert found.std(axis=0) == pytest.approx(np.where(constant, 0.0, 1.0), abs=1e-9)


def test_a_constant_column_says_nothing_of_new_rows_either():
    standard = Standard.fit(np.full((5, 1), 0.1))
    assert standard.apply(np.array([[7.0]])).tolist() == [[0.0]]


def test_moments_of_another_number_of_columns_are_refused():
    state = Standard.fit(np.arange(6.0).reshape(3, 2)).state()
    with pytest.raises(InputError, match="moments"):
        Standard.from_state(State(state.config, state.tensors), columns=3)

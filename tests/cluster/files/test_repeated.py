"""Values seen before are told from new ones, whatever the pieces they come in."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cluster.files.repeated import Seen


@given(st.lists(st.lists(st.text(max_size=2), max_size=8), max_size=12))
def test_only_the_first_of_equal_values_is_new(parts) -> None:
    seen, known = Seen(), set()
    for part in parts:
        found = seen.first(pl.Series(part, dtype=pl.String)).to_list()
        for value, new in zip(part, found, strict=True):
            assert new == (value not in known)
            known.add(value)

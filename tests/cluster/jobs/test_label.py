"""The label job: what a scorer gives is kept, what is no number is missing."""

import polars as pl

from cluster.jobs.label import finite


def test_rewards_that_are_no_number_are_missing(caplog) -> None:
    values = pl.Series([0.5, float("nan"), None, float("inf"), 1.0])
    found = finite(values, scorer="own")
    assert found.to_list() == [0.5, None, None, None, 1.0]
    assert "own: 2 rewards are NaN or infinite" in caplog.text


def test_numbers_stay_as_they_are(caplog) -> None:
    assert finite(pl.Series([0, 1, None]), scorer="own").to_list() == [0.0, 1.0, None]
    assert not caplog.text

"""Sums by tag, over shards, in bounded memory."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.routing.tally import MOST_TAGS, NO_TAG, OTHERS, added, as_rows, tallies

ROWS = pl.DataFrame(
    {
        "tag": ["a", "b", "a", None],
        "column": [0, 1, 1, 1],
        "reward": [0.5, 0.25, 1.0, 0.0],
        "cost": [1.0, 2.0, 3.0, float("nan")],
    }
)


def test_each_tag_has_its_rows_choices_reward_and_cost():
    found = as_rows(tallies(ROWS, n_candidates=2), candidates=("x", "y"))
    assert found[0] == {
        "tag": "a",
        "rows": 2,
        "shares": {"x": 0.5, "y": 0.5},
        "predicted_reward": 0.75,
        "predicted_cost_usd": 4.0,
    }
    by_tag = {row["tag"]: row for row in found}
    assert by_tag["b"]["shares"] == {"x": 0.0, "y": 1.0}
    assert by_tag[NO_TAG]["predicted_cost_usd"] is None


def test_a_sample_stands_for_all():
    found = tallies(ROWS, n_candidates=2, stands_for=10.0)["a"]
    assert (found.rows, found.chosen, found.reward, found.cost_usd) == (20, (10, 10), 15, 40)


tag_lists = st.lists(st.text(max_size=3), min_size=1, max_size=30)


@given(st.lists(tag_lists, max_size=5))
def test_shards_added_up_are_the_file(parts):
    frames = [
        pl.DataFrame({"tag": tags, "column": 0, "reward": 0.5, "cost": 1.0}) for tags in parts
    ]
    found = added([tallies(frame, n_candidates=1) for frame in frames])
    truth = pl.concat(frames)["tag"].value_counts() if frames else pl.DataFrame()
    assert {tag: tally.rows for tag, tally in found.items()} == dict(truth.iter_rows())


def test_a_column_of_ever_new_values_stays_small():
    frames = [
        pl.DataFrame(
            {
                "tag": [f"{part}-{n}" for n in range(500)] + ["often"] * 50,
                "column": 0,
                "reward": 1.0,
                "cost": 1.0,
            }
        )
        for part in range(4)
    ]
    found = added([tallies(frame, n_candidates=1) for frame in frames])
    assert len(found) == MOST_TAGS
    assert next(iter(found)) == "often"
    assert sum(tally.rows for tally in found.values()) == 4 * 550
    assert list(found)[-1] == OTHERS
    assert found["often"].rows == pytest.approx(200)

"""Which queries are chosen: their splits, their probabilities, and what is known of rewards."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.choice.choose import Known, choose, draw_texts
from cluster.query import split_of

KINDS = ("count the letters of", "add the numbers", "translate into French the word")


def texts(n: int, *, kind: str = KINDS[0]) -> list[str]:
    return [f"{kind} item{number} of row {number % 7}" for number in range(n)]


def queries(n: int = 400) -> pl.DataFrame:
    rows = [text for kind in KINDS for text in texts(n // 3, kind=kind)]
    return pl.DataFrame(
        {
            "query_id": [f"id{number:04}" for number in range(len(rows))],
            "text": rows,
            "split": [split_of(text) for text in rows],
        }
    )


ALL = queries()
NONE = pl.Series("query_id", [], dtype=pl.String)


@settings(max_examples=15)
@given(size=st.integers(0, 450), seed=st.integers(0, 3))
def test_so_many_are_drawn_of_every_split_its_share(size, seed):
    drawn = choose(ALL, asked=NONE, size=size, known=None, seed=seed)
    assert drawn.height == min(size, ALL.height) == drawn["query_id"].n_unique()
    split = drawn.join(ALL, on="query_id")["split"]
    for name, count in ALL["split"].value_counts().iter_rows():
        assert abs((split == name).sum() - count * drawn.height / ALL.height) < 2


def test_held_out_splits_are_drawn_evenly_and_a_larger_draw_holds_a_smaller():
    small = choose(ALL, asked=NONE, size=60, known=None, seed=0).join(ALL, on="query_id")
    large = choose(ALL, asked=NONE, size=200, known=None, seed=1).join(ALL, on="query_id")
    held_out = pl.col("split") != "train"
    assert set(small.filter(held_out)["query_id"]) <= set(large.filter(held_out)["query_id"])
    assert set(large.filter(held_out)["sampling_probability"]) == {1.0}
    assert large.filter(~held_out)["sampling_probability"].min() < 1.0


def test_what_was_asked_is_not_drawn_again():
    asked = ALL["query_id"].head(300)
    drawn = choose(ALL, asked=asked, size=1000, known=None, seed=0)
    assert drawn.height == ALL.height - 300
    assert not set(drawn["query_id"]) & set(asked)


def test_a_rare_kind_gets_more_than_its_share():
    many, few = texts(900), texts(30, kind=KINDS[2])
    drawn = [draw_texts(pl.Series(many + few), size=80, known=None, seed=s)[1] for s in range(5)]
    share = np.mean([(rows >= 900).mean() for rows in drawn])
    assert share > 2 * 30 / 930


def test_where_candidates_differed_more_is_drawn():
    easy, hard = texts(200), texts(200, kind=KINDS[1])
    labelled = pl.Series(easy[:50] + hard[:50])
    reward = np.array([[1.0, 1.0]] * 50 + [[1.0, 0.0]] * 50)
    rest = pl.Series(easy[50:] + hard[50:])
    known = Known(labelled, reward)
    probability, drawn = draw_texts(rest, size=60, known=known, seed=0)
    without, _ = draw_texts(rest, size=60, known=None, seed=0)
    assert (drawn >= 150).mean() > 0.6
    assert probability[150:].sum() > without[150:].sum()
    assert probability.min() > 0


def test_the_same_input_draws_the_same():
    first = choose(ALL, asked=NONE, size=50, known=None, seed=3)
    again = choose(ALL.sample(fraction=1.0, shuffle=True, seed=1), asked=NONE, size=50, known=None,
                   seed=3)  # fmt: skip
    assert first.sort("query_id").equals(again.sort("query_id"))
    assert first["sampling_probability"].to_list() != pytest.approx([1.0] * first.height)

"""Routed queries in the lake: once, as train, marked with who chose, and nothing else of them."""

import polars as pl
import pytest

from cluster.feedback.keep import Kept, keep_feedback
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.query import with_identity


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


DRAWN = pl.DataFrame(
    {
        "text": ["what is a lake?", "who was it?"],
        "candidate": ["small", "large"],
        "sampling_probability": [0.02, 0.01],
    }
)


def kept(lake: Lake) -> Kept:
    return keep_feedback(DRAWN, dataset="routed", router="v1", lake=lake)


def test_they_are_train_and_say_who_chose_and_how_likely_they_were(lake):
    assert kept(lake) == Kept(drawn=2, new=2)
    rows = lake.read(QUERIES).sort("text", descending=True)
    assert rows["split"].to_list() == ["train", "train"]
    assert rows["sampling_probability"].to_list() == [0.01, 0.02]
    assert rows["source"].to_list() == ["routed by v1 to large", "routed by v1 to small"]
    assert rows["dataset"].to_list() == ["routed", "routed"]
    assert rows["messages"].null_count() == rows["reference"].null_count() == 2


def test_again_they_add_nothing(lake):
    kept(lake)
    version = lake.version(QUERIES)
    assert kept(lake) == Kept(drawn=2, new=0)
    assert lake.version(QUERIES) == version


def test_what_the_lake_has_under_any_dataset_or_task_stays_as_it_is(lake):
    known = with_identity(pl.DataFrame({"task": ["trivia"], "text": ["who was it?"]}))
    known = known.with_columns(dataset=pl.lit("other"), sampling_probability=pl.lit(1.0))
    append_new(QUERIES.conform(known).collect(), lake=lake, table=QUERIES)
    assert kept(lake) == Kept(drawn=2, new=1)
    assert lake.read(QUERIES).filter(pl.col("dataset") == "routed")["text"].to_list() == [
        "what is a lake?"
    ]

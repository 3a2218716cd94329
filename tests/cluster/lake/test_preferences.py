"""Battles as outcomes: the preference made of a row is the battle's outcome again."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.preferences import INPUTS, read_preferences
from cluster.lake.tables import CANDIDATES, PREFERENCES, QUERIES, Table
from cluster.routers.knn import Knn
from cluster.routers.pairs import compare


def add(lake: Lake, table: Table, *rows: dict) -> None:
    append_new(pl.DataFrame(list(rows), schema=table.schema), lake=lake, table=table)


def battle(query: str, a: str, b: str, outcome: float | None, judge: str = "jury") -> dict:
    sides = {"candidate_a": a, "candidate_b": b}
    return {"query_id": query, **sides, "judge": judge, "outcome": outcome}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three queries of one dataset and one of another; c has no spec."""
    lake = Lake.open(tmp_path / "lake")
    given = {"task": "t", "split": "train", "sampling_probability": 1.0}
    add(
        lake,
        QUERIES,
        *[
            {"query_id": name, "text": f"text of {name}", "dataset": "d", **given}
            for name in ("q1", "q2", "q3")
        ],
        {"query_id": "other", "text": "another", "dataset": "e", **given},
    )
    add(
        lake,
        CANDIDATES,
        *[
            {"candidate_id": f"id-{name}", "sequence": 1, "name": name, "spec": "{}"}
            for name in ("a", "b")
        ],
    )
    return lake


@pytest.fixture
def judged(lake: Lake) -> Lake:
    add(
        lake,
        PREFERENCES,
        battle("q2", "id-b", "id-a", 1.0),
        battle("q1", "id-a", "id-b", 0.5),
        battle("q1", "id-a", "c", 0.25),
        battle("q3", "id-a", "id-b", None),
        battle("other", "id-a", "id-b", 1.0),
    )
    return lake


def test_the_preference_of_a_row_is_the_battles_outcome(judged: Lake) -> None:
    found = read_preferences(judged, dataset="d")
    assert found.candidates == ("a", "b", "c")
    assert found.candidate_ids == ("id-a", "id-b", "c")
    assert found.queries["query_id"].to_list() == ["q1", "q1", "q2"]
    pairs = compare(found)
    names = [
        (found.candidates[a], found.candidates[b]) for a, b in zip(pairs.a, pairs.b, strict=True)
    ]
    assert names == [("a", "c"), ("a", "b"), ("a", "b")]
    assert pairs.target.tolist() == [0.25, 0.5, 0.0]


def test_nothing_is_known_of_the_others(judged: Lake) -> None:
    found = read_preferences(judged, dataset="d")
    assert found.mask.sum(axis=1).tolist() == [2, 2, 2]
    assert np.array_equal(found.n_samples > 0, found.mask)
    assert np.isnan(found.completion_tokens).all()


def test_battles_of_others_are_left_out_where_candidates_are_named(judged: Lake) -> None:
    found = read_preferences(judged, dataset="d", candidates=["b", "a", "never"])
    assert found.candidates == ("b", "a", "never")
    assert found.queries["query_id"].to_list() == ["q1", "q2"]
    assert compare(found).target.tolist() == [0.5, 1.0]


def test_any_method_learns_from_them(judged: Lake) -> None:
    reward = Knn(k=1, shrinkage=0.1).fit(read_preferences(judged, dataset="d"), seed=0)
    expected = reward.predict(pl.Series(["text of q2"])).reward[0]
    assert expected[1] > expected[0] + 0.3


def test_names_that_two_candidates_share_are_told_apart(judged: Lake) -> None:
    twin = {"candidate_id": "id-twin-of-a", "sequence": 2, "name": "a", "spec": "{}"}
    add(judged, CANDIDATES, twin)
    add(judged, PREFERENCES, battle("q2", "id-twin-of-a", "id-a", 1.0))
    assert "a@id-twin-" in read_preferences(judged, dataset="d").candidates


def test_one_of_several_judges_must_be_named(judged: Lake) -> None:
    add(judged, PREFERENCES, battle("q2", "id-a", "id-b", 1.0, judge="crowd"))
    with pytest.raises(InputError, match=r"several judges .crowd, jury.; name one"):
        read_preferences(judged, dataset="d")
    assert compare(read_preferences(judged, dataset="d", judge="crowd")).target.tolist() == [1.0]
    with pytest.raises(InputError, match=r"judge 'nobody'.*crowd, jury"):
        read_preferences(judged, dataset="d", judge="nobody")


def test_a_pinned_version_stays(judged: Lake) -> None:
    versions = judged.versions(INPUTS)
    before = read_preferences(judged, dataset="d", versions=versions)
    add(judged, PREFERENCES, battle("q3", "id-b", "id-a", 1.0))
    assert len(read_preferences(judged, dataset="d")) == len(before) + 1
    again = read_preferences(judged, dataset="d", versions=versions)
    assert again.queries.equals(before.queries)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (battle("q2", "id-a", "id-b", 1.5), "query 'q2': field 'outcome' is 1.5, expected 0 to 1"),
        (battle("q2", "id-a", "id-b", float("nan")), "field 'outcome' is nan"),
        (battle("q2", "id-a", "id-a", 1.0), "'q2': candidate 'id-a' is compared with itself"),
    ],
)
def test_what_is_no_battle_is_refused(lake: Lake, row: dict, words: str) -> None:
    add(lake, PREFERENCES, row)
    with pytest.raises(InputError, match=words):
        read_preferences(lake, dataset="d")


def test_a_dataset_without_battles_is_refused(judged: Lake) -> None:
    with pytest.raises(InputError, match="no preferences of dataset 'f'"):
        read_preferences(judged, dataset="f")

"""snapshot create, list, show and labels list, release, as their user sees them."""

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def lake(toy: Any, tmp_path: Path) -> Path:
    """A copy of the lake in which `train --promote` has frozen a snapshot."""
    shutil.copytree(toy.lake, tmp_path / "lake")
    return tmp_path / "lake"


def test_the_first_promotion_froze_a_snapshot_and_spent_a_look(
    toy: Any, told: Any, lake: Path
) -> None:
    promotion = toy.trained["promotion"]
    assert (promotion["snapshot"], promotion["look"]) == ("toy-1", 1)
    against = {row["against"]: row for row in promotion["comparisons"]}
    assert set(against) == {"best single", "cost-matched mix"}
    assert against["best single"]["low"] > 0
    shown = told("snapshot", "show", "--name", "toy-1", "--lake", lake).manifest
    assert shown["rows"] == 100
    assert [(one["look"], one["how"]) for one in shown["looks"]] == [(1, "first")]
    assert shown["looks"][0]["level"] == promotion["level"]


def test_a_snapshot_is_created_by_hand_and_listed(
    toy: Any, signalbox: Any, told: Any, lake: Path
) -> None:
    path = ("--format", "table", "--path", toy.table)
    signalbox("import", *path, "--dataset", "later", "--lake", lake)
    told("snapshot", "create", "--dataset", "later", "--name", "june", "--lake", lake)
    listed = told("snapshot", "list", "--lake", lake).manifest["snapshots"]
    assert {one["name"]: one["looks"] for one in listed} == {"toy-1": 1, "june": 0}
    again = told("snapshot", "create", "--dataset", "later", "--name", "june", "--lake", lake)
    again.refused("'june' already", "--name")


def test_queries_that_were_looked_at_make_no_new_snapshot(told: Any, lake: Path) -> None:
    made = told("snapshot", "create", "--dataset", "toy", "--name", "june", "--lake", lake)
    made.refused("looked at already (toy-1)", "100 more new test queries are needed")


def test_unknown_names_are_told_with_those_there_are(told: Any, lake: Path) -> None:
    shown = told("snapshot", "show", "--name", "nope", "--lake", lake)
    shown.refused("there is toy-1", "signalbox snapshot create")
    assert told("labels", "list", "--lake", lake).manifest == {"batches": []}
    released = told("labels", "release", "--batch", "nope", "--lake", lake)
    released.refused("no batch 'nope' was refused")

"""Battles in the lake: once each, beside the names of those who fought, in splits to learn from."""

import json

import pytest

from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.preferences import read_preferences
from cluster.lake.tables import CANDIDATES, PREFERENCES, QUERIES


@pytest.fixture
def do(tmp_path):
    def run(rows: list[dict], **changes) -> dict:
        path = tmp_path / "votes.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {"format": "battles", "dataset": "arena", "path": str(path)} | changes
        spec = ImportSpec(lake=str(tmp_path / "lake"), digest=path_digest(given["path"]), **given)
        return import_table(spec, Run.of(spec))

    return run


def votes(n: int) -> list[dict]:
    sides = ("x", "y", "z")
    return [
        {
            "text": f"text number {row}",
            "model_a": sides[row % 3],
            "model_b": sides[(row + 1) % 3],
            "outcome": row % 3 / 2,
        }
        for row in range(n)
    ]


def test_what_was_read_is_what_is_learned_from(do, tmp_path) -> None:
    manifest = do(votes(40))
    told = {name: manifest[name] for name in ("battles", "new_battles", "queries", "ties")}
    assert told == {"battles": 40, "new_battles": 40, "queries": 40, "ties": 13}
    assert (manifest["candidates"], manifest["judges"]) == (["x", "y", "z"], ["human"])
    lake = Lake.open(tmp_path / "lake")
    found = read_preferences(lake, dataset="arena")
    assert found.candidates == ("x", "y", "z")
    by_text = dict(zip(found.texts, found.reward.tolist(), strict=True))
    assert by_text["text number 1"][1:] == [0.5, 0.5]
    assert by_text["text number 2"] == [0.0, pytest.approx(float("nan"), nan_ok=True), 1.0]


def test_a_file_without_splits_is_train_and_a_tenth_of_it_validation(do, tmp_path) -> None:
    do(votes(200))
    splits = Lake.open(tmp_path / "lake").read(QUERIES)["split"].value_counts()
    counts = dict(splits.iter_rows())
    assert set(counts) == {"train", "validation"}
    assert 8 <= counts["validation"] <= 35


def test_the_same_battles_again_change_nothing(do, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    do(votes(10))
    changed = [row | {"outcome": 1.0} for row in votes(12)]
    again = do(changed)
    told = (again["new_battles"], again["battles_already_there"], again["queries_already_there"])
    assert told == (2, 10, 10)
    assert "10 queries and 10 battles were in the lake already" in caplog.text
    assert Lake.open(tmp_path / "lake").read(PREFERENCES).height == 12


def test_a_name_is_one_candidate_in_battles_and_in_scores(do, tmp_path) -> None:
    do(votes(6))
    table = tmp_path / "scores.csv"
    table.write_text("text,x,other\nhow many?,1,0\n")
    do([], format="table", path=str(table), dataset="scores")
    specs = newest_specs(Lake.open(tmp_path / "lake").scan(CANDIDATES)).collect()
    assert sorted(specs["name"]) == ["other", "x", "y", "z"]

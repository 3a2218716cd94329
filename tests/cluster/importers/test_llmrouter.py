import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.importers.llmrouter import read

CLONE = Path(__file__).resolve().parents[4] / "shared" / "data" / "LLMRouter"
FOLDER = Path("data") / "dcrouter_preprocessed"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    train = [{"question": "x", "scores": {"a": 1.0, "b": 0.25}, "cluster_id": 2}]
    test = [{"question": "x", "scores": {"b": 0.0, "a": 0.5}}]
    write(tmp_path / FOLDER / "train.json", train)
    write(tmp_path / FOLDER / "test.json", test)
    return tmp_path


@pytest.mark.parametrize("start", [Path(), Path("data"), FOLDER])
def test_scores_stand_as_they_are(clone: Path, start: Path) -> None:
    table = read(str(clone / start))
    found = table.rows.select("split", "task", "candidate", "scorer", "value", "weight").rows()
    assert sorted(found) == [
        ("test", "dcrouter", "a", "accuracy", 0.5, 1.0),
        ("test", "dcrouter", "b", "accuracy", 0.0, 1.0),
        ("train", "dcrouter", "a", "accuracy", 1.0, 1.0),
        ("train", "dcrouter", "b", "accuracy", 0.25, 1.0),
    ]
    assert table.tags.select("split", "text", "tag", "tagger").rows() == [
        ("train", "x", "2", "llmrouter-cluster")
    ]


def test_one_file_and_a_task_in_the_name(clone: Path) -> None:
    assert set(read(str(clone / FOLDER / "test.json")).rows["split"]) == {"test"}
    named = clone / "nq_train.json"
    write(named, [{"question": "x", "scores": {"a": 1.0}}])
    assert read(str(named)).rows.select("task", "split").row(0) == ("nq", "train")
    assert set(read(str(clone), task="mixed").rows["task"]) == {"mixed"}


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read(str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"no \*\.json here"):
        read(str(tmp_path))
    write(tmp_path / "test.json", [{"question": "x", "scores": {"a": "high"}}])
    with pytest.raises(InputError, match=r"test\.json, row 1, field 'scores', candidate 'a'"):
        read(str(tmp_path))


def test_published_lists_come_out() -> None:
    if not CLONE.is_dir():
        pytest.skip("the LLMRouter data is not beside the repository (../shared/data)")
    table = read(str(CLONE))
    queries = table.queries
    assert dict(queries.group_by("split").len().iter_rows()) == {"train": 5608, "test": 500}
    assert len(table.candidates) == 9
    test = queries.filter(pl.col("split") == "test")
    train = queries.filter(pl.col("split") == "train")
    assert test.join(train, on="text", how="semi").height == 119
    rows = table.rows.filter(pl.col("split") == "test")
    single = rows.group_by("candidate").agg(pl.col("value").mean())["value"].max()
    oracle = rows.group_by("text").agg(pl.col("value").max())["value"].mean()
    assert (single, oracle) == pytest.approx((0.563, 0.743), abs=0.0005)
    assert table.tags.height == 5608

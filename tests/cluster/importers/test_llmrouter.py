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
    with pytest.raises(InputError, match=r"no \*\.json or \*routing\*\.jsonl here"):
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


def line(query: str, model: str, performance: Any, **more: Any) -> dict[str, Any]:
    return {
        "task_name": "gsm8k",
        "query": query,
        "ground_truth": "4",
        "metric": "GSM8K",
        "choices": None,
        "task_id": None,
        "model_name": model,
        "response": "so 4",
        "token_num": 453,
        "input_tokens": 449,
        "output_tokens": 4,
        "response_time": 1.7,
        "api_key_used": "",
        "performance": performance,
        "embedding_id": 0,
        "user_id": None,
        "fig_id": None,
    } | more


def write_lines(path: Path, *lines: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines), encoding="utf-8")
    return path


def test_routing_data_keeps_what_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "example_data" / "routing_data"
    name = "default_routing_train_data.jsonl"
    write_lines(folder / name, line("x", "a", 1.0), line("x", "b", 0.25))
    write_lines(folder / "default_routing_test_data.jsonl", line("x", "a", 0))
    write(folder / "default_llm.json", [])
    table = read(str(tmp_path))
    assert sorted(table.rows.drop("scorer", "weight", "cost_usd").rows()) == [
        ("test", "gsm8k", "x", 0, "4", "a", 0.0, "so 4", 449.0, 4.0),
        ("train", "gsm8k", "x", 0, "4", "a", 1.0, "so 4", 449.0, 4.0),
        ("train", "gsm8k", "x", 0, "4", "b", 0.25, "so 4", 449.0, 4.0),
    ]
    assert set(read(str(folder / name)).rows["split"]) == {"train"}


def test_lines_of_one_query_share_its_embedding(tmp_path: Path) -> None:
    lines = [line("x", "a", 1, embedding_id=3), line("x", "b", 0, embedding_id=5)]
    path = write_lines(tmp_path / "routing_data_train.jsonl", *lines)
    cells = read(str(path)).rows.select("occurrence", "candidate").rows()
    assert cells == [(0, "a"), (1, "b")]


def test_what_a_clone_has_always_had_comes_first(clone: Path) -> None:
    write_lines(clone / "routing_data_train.jsonl", line("x", "a", 1))
    assert set(read(str(clone)).rows["task"]) == {"dcrouter"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"performance": "good"}, "row 2, field 'performance': expected a finite number"),
        ({"query": ""}, "row 2, field 'query': expected the query's text"),
        ({"query": [{"role": "user"}]}, "row 2, field 'query': expected text or a number"),
        ({"model_name": None}, "row 2, field 'model_name': expected a candidate's name"),
    ],
)
def test_a_bad_line_is_named(bad: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", line("x", "a", 1), line("x", "b", 1) | bad)
    with pytest.raises(InputError, match=message):
        read(str(path))


def test_lines_of_another_shape_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "routing.jsonl", {"task_name": "gsm8k", "performance": 1})
    with pytest.raises(InputError, match=r"routing\.jsonl: no column 'query'"):
        read(str(path))

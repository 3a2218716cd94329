import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.importers.llmrouterbench import read


def record(index: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "origin_query": "2+2?",
        "prompt": "Question: 2+2?\nAnswer:",
        "prompt_tokens": 15,
        "completion_tokens": 5,
        "cost": 0.0001,
        "score": 1.0,
        "prediction": "4",
        "ground_truth": 4,
        "raw_output": "It is 4.",
        "extra_fields": {},
    } | more


def write(
    root: Path,
    *records: Any,
    dataset: str = "aime",
    split: str = "test",
    model: str = "gpt-5",
    stamp: str = "20251001_120000",
    **more: Any,
) -> Path:
    """One result, where the published archive has it."""
    name = f"{dataset}-{split}-{model}-{stamp}.json"
    path = root / "results" / "bench" / dataset / split / model / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "performance": 1.0,
        "counts": len(records),
        "model_name": model,
        "dataset_name": dataset,
        "split": split,
        "demo": False,
        "records": list(records),
    } | more
    path.write_text(json.dumps(content))
    return path


def test_records_become_cells(tmp_path: Path) -> None:
    write(tmp_path, record(), record(2, score=None, prompt="other"))
    write(tmp_path, record(raw_output=["no text"], score=0, cost=None), model="glm-4.6")
    table = read(str(tmp_path))
    fields = ("split", "task", "text", "reference", "candidate", "value", "answer")
    numbers = ("prompt_tokens", "completion_tokens", "cost_usd")
    text = "Question: 2+2?\nAnswer:"
    assert sorted(table.rows.select(*fields, *numbers).rows()) == [
        ("test", "aime", text, "4", "glm-4.6", 0.0, "4", 15.0, 5.0, None),
        ("test", "aime", text, "4", "gpt-5", 1.0, "It is 4.", 15.0, 5.0, 0.0001),
    ]
    assert table.left_out["queries"].to_list() == [1]


def test_equal_texts_are_told_apart_by_their_index(tmp_path: Path) -> None:
    write(tmp_path, record(1), record(2, score=0.0))
    write(tmp_path, record(2, score=0.5), model="glm-4.6")
    cells = read(str(tmp_path)).rows.select("occurrence", "candidate", "value").rows()
    assert sorted(cells) == [(0, "glm-4.6", 0.5), (0, "gpt-5", 0.0), (1, "gpt-5", 1.0)]


@pytest.mark.parametrize(
    ("split", "ours"),
    [("train", "train"), ("hybrid", "test"), ("v1", "test"), ("valid", "validation")],
)
def test_splits_by_their_first_word(split: str, ours: str, tmp_path: Path) -> None:
    write(tmp_path, record(), split=split)
    assert set(read(str(tmp_path / "results")).rows["split"]) == {ours}


def test_the_newest_run_counts_and_no_demo(tmp_path: Path) -> None:
    new = write(tmp_path, record(score=0.0), stamp="20251002_090000")
    old = write(tmp_path, record(score=1.0))
    demo = write(tmp_path, record(score=0.3), stamp="20251003_090000", demo=True)
    table = read(str(tmp_path))
    assert table.rows["value"].to_list() == [0.0]
    assert sorted(table.notes) == sorted(
        [
            f"{old}: there is a newer run of the same, left out",
            f"{demo}: marked as a demo, left out",
        ]
    )
    new.unlink()
    old.unlink()
    with pytest.raises(InputError, match="every run is marked as a demo"):
        read(str(tmp_path))


def test_folders_name_what_the_file_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, record(), split="train")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"records": content["records"]}))
    for start in (tmp_path, path):
        found = read(str(start)).rows.select("task", "split", "candidate").row(0)
        assert found == ("aime", "train", "gpt-5")
    flat = tmp_path / "flat" / "run.json"
    flat.parent.mkdir()
    flat.write_text(path.read_text())
    with pytest.raises(InputError, match="field 'dataset_name': expected the name of the dataset"):
        read(str(flat.parent))


def test_another_field_can_be_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, record(prompt=[{"role": "user", "content": "2+2?"}]))
    with pytest.raises(InputError, match=r"record 1, field 'prompt'.*--text-column"):
        read(str(path))
    assert read(str(path), text_column="origin_query").queries["text"].to_list() == ["2+2?"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(), 5], "record 2: expected an object, found 5"),
        ([record(), record(2, prompt=None)], "row 2, field 'prompt': expected the query's text"),
        ([record(score="1")], "record 1, field 'score': expected a finite number, found '1'"),
        ([record(cost=1e309)], "Infinity is no JSON number"),
        ([record(prompt_tokens=[1])], "record 1, field 'prompt_tokens'"),
        ([], "field 'records': no record"),
    ],
)
def test_bad_input_is_named(records: list[Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, *records)
    with pytest.raises(InputError, match=message) as told:
        read(str(tmp_path))
    assert str(path) in str(told.value)


def test_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*\.json here"):
        read(str(tmp_path))
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"package\.json: expected one of LLMRouterBench's results"
    ):
        read(str(tmp_path))


def test_half_a_surrogate_can_be_kept(tmp_path: Path) -> None:
    write(tmp_path, record(raw_output="half \ud83d"))
    answers: pl.Series = read(str(tmp_path)).rows["answer"]
    assert answers.to_list() == ["half \ufffd"]

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.importers.embedllm import read

COLUMNS = ("prompt_id", "model_id", "category_id", "label", "prompt", "model_name", "category")


def write(path: Path, *rows: tuple[Any, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=COLUMNS, orient="row").write_csv(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    write(
        data / "train.csv",
        (7, 0, 3, 1, "What, now?", "google__gemma-7b-it", "gsm8k"),
        (7, 1, 3, 0, "What, now?", "microsoft__phi-2", "gsm8k"),
        (9, 0, 3, 0, "What, now?", "google__gemma-7b-it", "gsm8k"),
        (9, 0, 4, 1, "What, now?", "google__gemma-7b-it", "asdiv"),
    )
    write(data / "val.csv", (1, 0, 4, 1, "y", "microsoft__phi-2", "asdiv"))
    write(data / "test.csv", (2, 0, 4, 0, "z", "microsoft__phi-2", "asdiv"))
    write(data / "train_1000.csv", (7, 0, 3, 1, "What, now?", "google__gemma-7b-it", "gsm8k"))
    (data / "train.pth").touch()
    (data / "question_order.csv").write_text("prompt_id,prompt\n7,x\n")
    (data / "model_order.csv").write_text("model_id,model_name\n0,google__gemma-7b-it\n")
    return tmp_path


@pytest.mark.parametrize("inner", [".", "data"])
def test_the_three_files_come_out(folder: Path, inner: str) -> None:
    table = read(str(folder / inner))
    fields = ("split", "task", "text", "occurrence", "candidate", "value")
    assert sorted(table.rows.select(fields).rows()) == [
        ("test", "asdiv", "z", 0, "microsoft__phi-2", 0.0),
        ("train", "asdiv", "What, now?", 0, "google__gemma-7b-it", 1.0),
        ("train", "gsm8k", "What, now?", 0, "google__gemma-7b-it", 1.0),
        ("train", "gsm8k", "What, now?", 0, "microsoft__phi-2", 0.0),
        ("train", "gsm8k", "What, now?", 1, "google__gemma-7b-it", 0.0),
        ("validation", "asdiv", "y", 0, "microsoft__phi-2", 1.0),
    ]


def test_one_file_is_of_the_split_its_name_begins_with(folder: Path) -> None:
    assert set(read(str(folder / "data" / "train_1000.csv")).rows["split"]) == {"train"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, 0, 0, "right", "x", "a", "t"), "row 2, field 'label': expected a finite number"),
        ((1, 0, 0, 1, "  ", "a", "t"), "row 2, field 'prompt': expected the query's text"),
        ((1, 0, 0, 1, "x", "", "t"), "row 2, field 'model_name': expected a candidate's name"),
    ],
)
def test_a_bad_row_is_named(row: tuple[Any, ...], message: str, tmp_path: Path) -> None:
    fine = (*map(str, (1, 0, 0, 1)), "x", "a", "t")
    path = write(tmp_path / "test.csv", fine, tuple(map(str, row)))
    with pytest.raises(InputError, match=message) as told:
        read(str(path))
    assert str(path) in str(told.value)


def test_another_shape_is_named(folder: Path, tmp_path: Path) -> None:
    order = folder / "data" / "question_order.csv"
    with pytest.raises(InputError, match=r"question_order\.csv: no column 'model_name'; expected"):
        read(str(order))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither train\.csv nor val\.csv nor test\.csv"):
        read(str(tmp_path / "empty"))

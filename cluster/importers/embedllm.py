"""EmbedLLM's correctness (ICLR 2025, arXiv 2410.02223): `train.csv`, `val.csv`, `test.csv`.

Each has a row a (prompt, model): `prompt_id`, `model_id`, `category_id`, `label` (1 right, 0
wrong), `prompt`, `model_name`, `category`. `question_order.csv` and `model_order.csv`, which number
the prompts and models, hold no label and are not read.
"""

from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.long_form import long_table
from cluster.importers.score_table import ScoreTable, existing, leading_split
from cluster.importers.table_fields import (
    label,
    names_of,
    numbers_of,
    refuse_nested,
    require_columns,
    texts_of,
)
from cluster.importers.table_files import find_tables, kind_of, load, stem_of

NEEDED = ("prompt_id", "model_name", "label", "prompt")
SPLITS = ("train", "val", "test")
TASK = "embedllm"


def read(path: str) -> ScoreTable:
    """Read the three files of a folder, or of `data` in it, or one file by itself.

    The split is what the file's name begins with (nothing known: test), the task is `category`.
    Of a folder only `train`, `val` and `test` are read, since what is published beside them are
    parts of train. A prompt that is listed under two categories is two queries. One scorer,
    `accuracy`: the label, weight 1.

    Raises:
        InputError: nothing of this shape there, a missing column, a row without prompt or model, a
            label that is no number.
    """
    return long_table(pl.concat([_rows(file) for file in _files(existing(path))]))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return find_tables(str(path))
    for folder in (path, path / "data"):
        tables = [file for file in sorted(folder.glob("*.*")) if kind_of(file)]
        if files := [file for file in tables if stem_of(file) in SPLITS]:
            return files
    raise InputError(
        f"{path}: neither train.csv nor val.csv nor test.csv here; expected EmbedLLM's files, as "
        "published"
    )


def _rows(file: Path) -> pl.DataFrame:
    frame = load(file)
    require_columns(frame, names=NEEDED, file=file)
    refuse_nested(frame, names=(*NEEDED, "category"), file=file)
    return pl.DataFrame(
        {
            "split": pl.repeat(leading_split(file.name), frame.height, eager=True),
            "task": label(frame, column="category", default=TASK),
            "text": texts_of(frame["prompt"], file=file),
            "key": frame["prompt_id"].cast(pl.String),
            "candidate": names_of(frame["model_name"], file=file),
            "value": numbers_of(frame["label"], file=file),
        }
    ).with_columns(scorer=pl.lit("accuracy"), weight=pl.lit(1.0))

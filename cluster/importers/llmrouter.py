"""LLMRouter's preprocessed score lists: `data/dcrouter_preprocessed/{train,test}.json`.

The JSON lists have RouterDC's shape; `cluster_id` is in train only.
"""

from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.routerdc import read_score_list
from cluster.importers.score_table import ScoreTable, existing, named_task_and_split, table_of

FOLDER = "dcrouter_preprocessed"


def read(path: str, *, task: str = "dcrouter") -> ScoreTable:
    """Read a clone of LLMRouter, its `data` folder, the lists' folder, or one list.

    The lists pool several benchmarks (trivia, common sense, mathematics, code, stories) and do not
    say which row is of which, so all rows are of one `task`, unless a file's name says another
    (`nq_test.json`). One scorer, `accuracy`: the score as it stands, weight 1; about 5 % of the
    values are an overlap with the gold answer between 0 and 1. `cluster_id` becomes tags of
    `llmrouter-cluster`. Test questions that are also in train are kept, as published.

    Raises:
        InputError: nothing of this shape there, or a broken file or row.
    """
    files = _files(existing(path))
    if not files:
        raise InputError(
            f"{path}: no *.json here; expected a clone of LLMRouter, its data folder, "
            f"data/{FOLDER}, or one file"
        )
    lists = [
        _read_file(file, task=task, first_row=number << 32) for number, file in enumerate(files)
    ]
    queries = pl.concat([queries for queries, _ in lists])
    cells = pl.concat([cells for _, cells in lists])
    scored = cells.rename({"score": "value"}).with_columns(
        scorer=pl.lit("accuracy"), weight=pl.lit(1.0)
    )
    tags = queries.select("row", tag="cluster_id", tagger=pl.lit("llmrouter-cluster"))
    return table_of(queries, scored, tags=tags)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    inner = (path / "data" / FOLDER, path / FOLDER)
    folder = next((folder for folder in inner if folder.is_dir()), path)
    return sorted(folder.glob("*.json"))


def _read_file(file: Path, *, task: str, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    named, split = named_task_and_split(file.stem)
    queries, cells = read_score_list(file)
    offset = pl.col("row") + first_row
    labelled = queries.with_columns(offset, task=pl.lit(named or task), split=pl.lit(split))
    return labelled, cells.with_columns(offset)

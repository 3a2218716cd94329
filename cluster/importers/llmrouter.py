"""LLMRouter's data: its routing data as JSON Lines, and its preprocessed score lists.

Routing data (`*routing*.jsonl`) has a line a (query, model): `task_name`, `query`, `ground_truth`,
`model_name`, `performance`, `response`, `input_tokens`, `output_tokens`, `embedding_id`, beside
fields that are not kept. The lists `data/dcrouter_preprocessed/{train,test}.json` have RouterDC's
shape; `cluster_id` is in train only.
"""

import re
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.long_form import long_table
from cluster.importers.routerdc import read_score_list
from cluster.importers.score_table import (
    SPLIT_WORDS,
    ScoreTable,
    existing,
    named_task_and_split,
    table_of,
)
from cluster.importers.table_fields import (
    label,
    names_of,
    numbers_of,
    require_columns,
    texts_of,
)
from cluster.importers.table_files import kind_of, load_fields, stem_of

FOLDER = "dcrouter_preprocessed"
ROUTING_FOLDERS = ("routing_data", "example_data/routing_data", "data/example_data/routing_data")
NEEDED = ("query", "model_name", "performance")
NUMBERS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
OPTIONAL = ("task_name", "ground_truth", "response", "embedding_id", *NUMBERS)
SPLIT = re.compile(rf"(?:^|[-_.])({'|'.join(SPLIT_WORDS)})(?:[-_.]|$)", re.IGNORECASE)


def read(path: str, *, task: str = "dcrouter") -> ScoreTable:
    """Read a clone of LLMRouter, one of its data folders, or one file.

    Routing data is read where a folder has any, and of a clone its preprocessed lists come first.

    Routing data: task and reference are `task_name` and `ground_truth`, the split is the word in
    the file's name (`routing_train_data.jsonl`; none: test). Lines of one query share its text and
    `embedding_id`. The score is `performance`, weight 1.

    Lists: they pool several benchmarks (trivia, common sense, mathematics, code, stories) and do
    not say which row is of which, so all rows are of one `task`, unless a file's name says another
    (`nq_test.json`). The score stands as it is, weight 1; about 5 % of the values are an overlap
    with the gold answer between 0 and 1. `cluster_id` becomes tags of `llmrouter-cluster`. Test
    questions that are also in train are kept, as published.

    One scorer, `accuracy`.

    Raises:
        InputError: nothing of this shape there, or a broken file or row.
    """
    routing = _routing_files(existing(path))
    if routing:
        return long_table(pl.concat([_routed(file, task=task) for file in routing]))
    files = _files(existing(path))
    if not files:
        raise InputError(
            f"{path}: no *.json or *routing*.jsonl here; expected a clone of LLMRouter, its data "
            f"folder, data/{FOLDER}, a folder with routing data, or one file"
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


def _routing_files(path: Path) -> list[Path]:
    """The files of routing data a path stands for."""
    if path.is_file():
        return [path] if kind_of(path) == ".jsonl" else []
    if _lists_folder(path) != path:
        return []
    inner = (path / folder for folder in ROUTING_FOLDERS)
    folder = next((folder for folder in inner if folder.is_dir()), path)
    return [file for file in sorted(folder.glob("*routing*")) if kind_of(file) == ".jsonl"]


def _routed(file: Path, *, task: str) -> pl.DataFrame:
    """The rows of a file of routing data."""
    frame = load_fields(file, names=(*NEEDED, *OPTIONAL), lists=())
    require_columns(frame, names=NEEDED, file=file)
    found = SPLIT.search(stem_of(file))
    rows = pl.DataFrame(
        {
            "split": pl.repeat(
                SPLIT_WORDS[found[1].lower()] if found else "test", frame.height, eager=True
            ),
            "task": label(frame, column="task_name", default=task),
            "text": texts_of(frame["query"], file=file),
            "key": label(frame, column="embedding_id", default=None),
            "reference": label(frame, column="ground_truth", default=None),
            "candidate": names_of(frame["model_name"], file=file),
            "value": numbers_of(frame["performance"], file=file),
            "answer": label(frame, column="response", default=None),
        }
    )
    none = pl.Series([None] * frame.height, dtype=pl.Float64)
    tokens = [
        (numbers_of(frame[name], file=file) if name in frame.columns else none).alias(field)
        for name, field in NUMBERS.items()
    ]
    return rows.hstack(tokens).with_columns(scorer=pl.lit("accuracy"), weight=pl.lit(1.0))


def _lists_folder(path: Path) -> Path:
    """The folder of the preprocessed lists in a clone or its data folder, else the path."""
    inner = (path / "data" / FOLDER, path / FOLDER)
    return next((folder for folder in inner if folder.is_dir()), path)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(_lists_folder(path).glob("*.json"))


def _read_file(file: Path, *, task: str, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    named, split = named_task_and_split(file.stem)
    queries, cells = read_score_list(file)
    offset = pl.col("row") + first_row
    labelled = queries.with_columns(offset, task=pl.lit(named or task), split=pl.lit(split))
    return labelled, cells.with_columns(offset)

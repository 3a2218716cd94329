"""RouterDC's datasets: JSON lists of `{question, scores{candidate: score}, cluster_id?}`.

NeurIPS 2024, arXiv 2409.19886; files `<task>_<split>.json` below `datasets/` of a clone.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from cluster.errors import InputError
from cluster.importers.score_table import (
    ScoreTable,
    checked_texts,
    existing,
    is_score,
    named_task_and_split,
    read_text,
    shown,
    table_of,
)

CLUSTER_SUFFIX = "_cluster"
MULTIPLE_CHOICE = ("mmlu", "cmmlu", "ceval", "c_eval", "arc_challenge", "arc_easy")
SAMPLE_MEAN = ("gsm8k", "humaneval", "mbpp", "prealgebra", "math_prealgebra", "javascript")
GRID_TOLERANCE = 1e-6


def read(path: str, *, samples: int = 10) -> ScoreTable:
    """Read a clone of RouterDC, its `datasets` folder, one folder of it, or one file.

    Any subset of the files and any candidates will do. Task and split come from the file's name
    (without a split: test). Where `X` and `X_cluster` both hold a file of one task and split, only
    the one of `X_cluster` is read. `cluster_id` becomes tags of `routerdc-cluster`.

    A score gives two scorers. `probability` is the score itself. `accuracy` depends on the task:
    for multiple choice the score is the gold option's probability if the answer is right, else 0,
    so right is `score > 0`, weight 1; for the others the score is the share of right answers in
    `samples` samples, so accuracy is the score, weight `samples`. The paper's own tasks are known
    by name. Another task is a mean of samples when all its scores, of all its files in this
    reading, are multiples of 1/`samples` and not all are 0 or 1; otherwise multiple choice.

    Raises:
        InputError: nothing of this shape there, a broken file or row, or two files of one task
            and split.
    """
    files = _unshadowed(_files(existing(path)))
    if not files:
        raise InputError(
            f"{path}: no *.json here; expected a clone of RouterDC, its datasets folder, "
            "a folder of it, or one file"
        )
    _refuse_twins(files)
    lists = [_read_file(file, first_row=number << 32) for number, file in enumerate(files)]
    queries = pl.concat([queries for queries, _ in lists])
    cells = pl.concat([cells for _, cells in lists])
    scored = _scored(cells.join(queries.select("row", "task"), on="row"), samples=samples)
    tags = queries.select("row", tag="cluster_id", tagger=pl.lit("routerdc-cluster"))
    return table_of(queries, scored, tags=tags)


def read_score_list(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A JSON list of `{question, scores, cluster_id?}`.

    Returns:
        queries: (n_queries, 3) `row` (from 0), `text` (normalised), `cluster_id` (text, nullable).
        cells: one row a (query, candidate) in the query's order: `row`, `candidate`, `score`; a
            null score is kept, a candidate the query does not mention has no row.

    Raises:
        InputError: broken JSON, another shape, a row without text or scores, a score that is no
            finite number.
    """
    entries = _json_list(path)
    texts = checked_texts(
        [entry.get("question") for entry in entries], where=str(path), name="question"
    )
    queries = pl.DataFrame(
        {
            "row": range(len(entries)),
            "text": texts,
            "cluster_id": [_tag(entry.get("cluster_id")) for entry in entries],
        },
        schema={"row": pl.Int64, "text": pl.String, "cluster_id": pl.String},
    )
    return queries, _cells(entries, where=str(path))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    folder = path / "datasets" if (path / "datasets").is_dir() else path
    return [*sorted(folder.glob("*.json")), *sorted(folder.glob("*/*.json"))]


def _unshadowed(files: list[Path]) -> list[Path]:
    """Without the files of `X` whose task and split `X_cluster` holds as well."""
    held = {(file.parent, named_task_and_split(file.stem)) for file in files}

    def shadowed(file: Path) -> bool:
        twin = file.parent.parent / (file.parent.name + CLUSTER_SUFFIX)
        return (twin, named_task_and_split(file.stem)) in held

    return [file for file in files if not shadowed(file)]


def _refuse_twins(files: list[Path]) -> None:
    names = Counter(named_task_and_split(file.stem) for file in files)
    for name, count in names.items():
        if count > 1:
            twins = [str(file) for file in files if named_task_and_split(file.stem) == name]
            raise InputError(
                f"{twins[0]} and {twins[1]} both hold task '{name[0]}', split '{name[1]}'; "
                "give the folder of one of them as --path"
            )


def _read_file(file: Path, *, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    task, split = named_task_and_split(file.stem)
    if not task:
        raise InputError(f"{file}: its name says no task; expected <task>_<split>.json")
    queries, cells = read_score_list(file)
    named = queries.with_columns(task=pl.lit(task), split=pl.lit(split))
    offset = pl.col("row") + first_row
    return named.with_columns(offset), cells.with_columns(offset)


def _json_list(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: broken JSON ({error}); is the file complete?") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: expected a JSON list of {{question, scores}}, found none")
    for row, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise InputError(f"{path}, row {row}: expected a JSON object, found {shown(entry)}")
        if not isinstance(entry.get("scores"), dict) or not entry["scores"]:
            raise InputError(
                f"{path}, row {row}, field 'scores': expected an object of candidate and score, "
                f"found {shown(entry.get('scores'))}"
            )
    return entries


def _cells(entries: list[dict[str, Any]], *, where: str) -> pl.DataFrame:
    cells = [
        (row, candidate, score)
        for row, entry in enumerate(entries)
        for candidate, score in entry["scores"].items()
    ]
    for row, candidate, score in cells:
        if score is not None and not is_score(score):
            raise InputError(
                f"{where}, row {row + 1}, field 'scores', candidate '{candidate}': expected a "
                f"finite number, found {shown(score)}; use null where there is no score"
            )
    rows, candidates, scores = zip(*cells, strict=True)
    return pl.DataFrame(
        {
            "row": pl.Series(rows, dtype=pl.Int64),
            "candidate": pl.Series(candidates, dtype=pl.String),
            "score": pl.Series(scores, dtype=pl.Float64, strict=False),
        }
    )


def _tag(value: object) -> str | None:
    return None if value is None else str(value)


def _scored(cells: pl.DataFrame, *, samples: int) -> pl.DataFrame:
    """Both scorers of every cell, accuracy first."""
    is_mean = pl.col("task").is_in(_sample_mean_tasks(cells, samples=samples))
    score = pl.col("score")
    weighted = cells.with_columns(weight=pl.when(is_mean).then(float(samples)).otherwise(1.0))
    right = pl.when(is_mean).then(score).otherwise((score > 0).cast(pl.Float64))
    return pl.concat(
        [
            weighted.with_columns(scorer=pl.lit("accuracy"), value=right),
            weighted.with_columns(scorer=pl.lit("probability"), value=score),
        ]
    ).drop("task", "score")


def _sample_mean_tasks(cells: pl.DataFrame, *, samples: int) -> list[str]:
    """Tasks whose score is a mean of samples: known by name, else all scores on the grid."""
    steps = pl.col("score") * samples
    decided = cells.group_by("task").agg(
        on_grid=((steps - steps.round()).abs() < GRID_TOLERANCE).all(),
        binary=pl.col("score").is_in([0.0, 1.0]).all(),
    )
    name = pl.col("task").str.to_lowercase()
    by_data = pl.col("on_grid") & ~pl.col("binary") & ~name.is_in(MULTIPLE_CHOICE)
    return decided.filter(name.is_in(SAMPLE_MEAN) | by_data)["task"].to_list()

"""SPROUT, on which CARROT was measured (arXiv 2502.03261): Parquet, a row a prompt.

Columns `key`, `dataset`, `dataset_level`, `dataset_idx`, `prompt`, `golden_answer`, and for each
model one named after it: a struct of `response`, `score` (a judge's, 0 to 1), `num_input_tokens`,
`num_output_tokens` and `judge_response`, which is not kept. Files
`data/<split>-<number>-of-<count>.parquet`; SPROUT-o3mini has the same shape.
"""

from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.score_table import ScoreTable, existing, leading_split, table_of
from cluster.importers.table_fields import (
    label,
    numbers_of,
    refuse_nested,
    require_columns,
    texts_of,
)
from cluster.importers.table_files import find_tables, load

NEEDED = ("dataset", "prompt")
FIELDS = {
    "num_input_tokens": "prompt_tokens",
    "num_output_tokens": "completion_tokens",
}
LEVELS = ("dataset_level", "dataset level")
TAGGER = "sprout-level"


def read(path: str) -> ScoreTable:
    """Read a clone of the data set, its `data` folder, or one of its files.

    The split is what the file's name begins with (nothing known: test), the task is `dataset`,
    `dataset_level` becomes tags of `sprout-level`, `golden_answer` the reference. SPROUT counts
    tokens and names no cost. One scorer, `accuracy`, weight 1; a model without a score on a prompt
    is missing there.

    Raises:
        InputError: nothing of this shape there, a missing column, a model without scores, a row
            without prompt, a score or count that is no number.
    """
    parts = [_part(file, first_row=number << 32) for number, file in enumerate(_files(path))]
    queries, cells, tags = (
        pl.concat(frames, how="diagonal") for frames in zip(*parts, strict=True)
    )
    return table_of(queries, cells, tags=tags)


def _files(path: str) -> list[Path]:
    inner = existing(path) / "data"
    return find_tables(str(inner) if inner.is_dir() else path)


def _part(file: Path, *, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The queries, cells and tags of a file."""
    frame = load(file)
    require_columns(frame, names=NEEDED, file=file)
    refuse_nested(frame, names=(*NEEDED, "golden_answer", *LEVELS), file=file)
    queries = pl.DataFrame(
        {
            "row": pl.int_range(first_row, first_row + frame.height, eager=True),
            "split": pl.repeat(leading_split(file.name), frame.height, eager=True),
            "task": label(frame, column="dataset", default="sprout"),
            "text": texts_of(frame["prompt"], file=file),
            "reference": label(frame, column="golden_answer", default=None),
        }
    )
    cells = [_cells(frame[name], file=file) for name in _models(frame, file=file)]
    numbered = [queries.select("row").hstack(part) for part in cells]
    return queries, pl.concat(numbered, how="diagonal"), _tags(queries, frame=frame)


def _models(frame: pl.DataFrame, *, file: Path) -> list[str]:
    models = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Struct)]
    if not models:
        raise InputError(
            f"{file}: no model's column; expected for each model a struct of response, score, "
            f"num_input_tokens, num_output_tokens; found {', '.join(frame.columns[:20])}"
        )
    return models


def _cells(answered: pl.Series, *, file: Path) -> pl.DataFrame:
    """(n_rows, …) one model's scores, tokens and answers."""
    fields = answered.struct.unnest()
    if "score" not in fields.columns:
        raise InputError(
            f"{file}, field '{answered.name}': a struct without 'score', found "
            f"{', '.join(fields.columns)}"
        )
    refuse_nested(fields, names=("response",), file=file)
    numbers = {"score": "value"} | {
        name: field for name, field in FIELDS.items() if name in fields.columns
    }
    columns = [
        numbers_of(fields[name].alias(f"{answered.name}.{name}"), file=file).alias(field)
        for name, field in numbers.items()
    ]
    return pl.DataFrame(columns).with_columns(
        label(fields, column="response", default=None).alias("answer"),
        candidate=pl.lit(answered.name),
        scorer=pl.lit("accuracy"),
        weight=pl.lit(1.0),
    )


def _tags(queries: pl.DataFrame, *, frame: pl.DataFrame) -> pl.DataFrame:
    name = next((level for level in LEVELS if level in frame.columns), LEVELS[0])
    levels = label(frame, column=name, default=None).replace("", None)
    return queries.select("row", tag=levels, tagger=pl.lit(TAGGER))

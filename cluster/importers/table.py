"""Plain score tables in Parquet, CSV or JSONL: a column a candidate (wide) or a row a score (long).

Wide: the text, optionally task, split and reference, and a numeric column for each candidate;
beside it optionally `cost:<candidate>` (USD a query), `tokens:<candidate>` (completion tokens),
`prompt_tokens:<candidate>`, `samples:<candidate>` and `answer:<candidate>`.
Long: the same query columns with `candidate` and `score`, optionally `scorer`, `samples`,
`cost_usd`, `prompt_tokens`, `completion_tokens` and `answer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.long_form import long_table
from cluster.importers.score_table import (
    ScoreTable,
    checked_texts,
    named_task_and_split,
    table_of,
)
from cluster.importers.table_fields import (
    can_hold_numbers,
    label,
    lenient,
    names_of,
    numbers_of,
    splits_of,
)
from cluster.importers.table_files import find_tables, load, stem_of

TEXT_COLUMNS = ("text", "question", "prompt", "query")
BOOKKEEPING = (
    *("", "id", "idx", "index", "row", "row_id", "sample_id", "query_id", "occurrence"),
    *("dataset", "source", "sampling_probability", "cluster_id"),
)
WIDE_FIELDS = {
    "cost": "cost_usd",
    "tokens": "completion_tokens",
    "prompt_tokens": "prompt_tokens",
    "samples": "weight",
    "answer": "answer",
}
LONG_FIELDS = {
    "cost_usd": "cost_usd",
    "completion_tokens": "completion_tokens",
    "prompt_tokens": "prompt_tokens",
    "samples": "weight",
    "answer": "answer",
}


@dataclass(frozen=True)
class Columns:
    """Where a table keeps what.

    Attributes:
        text: the column of the query's text; None takes the first there is of `TEXT_COLUMNS`.
        task, split, reference: columns of that name are used when they are there.
        candidates: the candidates' columns of a wide table; None takes every numeric column that
            is not a query's, not `<field>:<candidate>` and not one of `BOOKKEEPING`.
        scorer: name of the scorer where the table does not say.
    """

    text: str | None = None
    task: str = "task"
    split: str = "split"
    reference: str = "reference"
    candidates: tuple[str, ...] | None = None
    scorer: str = "accuracy"


@dataclass(frozen=True)
class Part:
    """One file: its queries and its cells, both with `row`, and remarks."""

    queries: pl.DataFrame
    cells: pl.DataFrame
    notes: tuple[str, ...] = ()


def read(
    path: str,
    *,
    text_column: str | None = None,
    task_column: str = "task",
    split_column: str = "split",
    reference_column: str = "reference",
    candidates: Sequence[str] | None = None,
    scorer: str = "accuracy",
) -> ScoreTable:
    """Read a file, every table file of a folder, or a glob, all of them wide or all long.

    A table with the columns `candidate` and `score` is long. Without a task or split column
    they come from the file's name (`gsm8k-train.csv`; no split: test; no task: `table`). Scores
    are numbers, true or false; an empty cell is missing, and so are candidates that a file does
    not have. `weight` is 1 without `samples`. In long form the n-th row of a candidate for the
    same text belongs to the n-th occurrence of the query.

    Raises:
        InputError: no such file, an unknown format, a missing column, a row without text, a split
            that does not exist, a score that is not a finite number.
    """
    chosen = Columns(
        text=text_column,
        task=task_column,
        split=split_column,
        reference=reference_column,
        candidates=None if candidates is None else tuple(candidates),
        scorer=scorer,
    )
    files = find_tables(path)
    frames = [(file, load(file)) for file in files]
    long = [file for file, frame in frames if {"candidate", "score"} <= set(frame.columns)]
    if long and len(long) < len(files):
        wide = next(file for file in files if file not in long)
        raise InputError(f"{long[0]} is in long form and {wide} is not; import them one by one")
    form = _long_part if long else _wide_part
    parts = [
        form(frame, file=file, columns=chosen, first_row=number << 32)
        for number, (file, frame) in enumerate(frames)
    ]
    table = _long_table(parts) if long else _wide_table(parts)
    _refuse_absent(chosen.candidates or (), table=table, path=path)
    return table


def _refuse_absent(candidates: Sequence[str], *, table: ScoreTable, path: str) -> None:
    for candidate in candidates:
        if candidate not in table.candidates:
            raise InputError(
                f"{path}: no scores of candidate '{candidate}'; found {', '.join(table.candidates)}"
            )


def _queries(frame: pl.DataFrame, *, file: Path, columns: Columns, first_row: int) -> pl.DataFrame:
    """`row`, `split`, `task`, `text`, `reference` of every row of a file."""
    _refuse_unknown(frame, file=file, columns=columns)
    task, split = named_task_and_split(stem_of(file))
    text = _text_column(frame, file=file, columns=columns)
    texts = frame[text]
    if texts.dtype.is_nested():
        raise InputError(f"{file}, field '{text}': expected text, found {texts.dtype}")
    checked = checked_texts(texts.cast(pl.String).to_list(), where=str(file), name=text)
    return pl.DataFrame(
        {
            "row": pl.int_range(first_row, first_row + frame.height, eager=True),
            "text": pl.Series(checked, dtype=pl.String),
            "task": label(frame, column=columns.task, default=task or "table"),
            "split": splits_of(frame, file=file, column=columns.split, default=split),
            "reference": label(frame, column=columns.reference, default=None),
        }
    )


def _refuse_unknown(frame: pl.DataFrame, *, file: Path, columns: Columns) -> None:
    """A column the user named must be there; the default names need not."""
    plain = Columns()
    named = (
        (columns.task, plain.task),
        (columns.split, plain.split),
        (columns.reference, plain.reference),
    )
    for name, default in named:
        if name != default and name not in frame.columns:
            raise InputError(
                f"{file}: no column '{name}'; the columns are {', '.join(frame.columns[:20])}"
            )


def _text_column(frame: pl.DataFrame, *, file: Path, columns: Columns) -> str:
    wanted = TEXT_COLUMNS if columns.text is None else (columns.text,)
    found = next((name for name in wanted if name in frame.columns), None)
    if found is None:
        raise InputError(
            f"{file}: no column '{' or '.join(wanted)}' with the query's text; the columns are "
            f"{', '.join(frame.columns[:20])}; name it with --text-column"
        )
    return found


def _field(values: pl.Series, *, name: str, file: Path) -> pl.Series:
    """A column as the field `name` of `ROW_SCHEMA`."""
    typed = values.cast(pl.String) if name == "answer" else numbers_of(values, file=file)
    return typed.alias(name)


def _wide_part(frame: pl.DataFrame, *, file: Path, columns: Columns, first_row: int) -> Part:
    queries = _queries(frame, file=file, columns=columns, first_row=first_row)
    names, notes = _candidates(frame, file=file, columns=columns)
    _refuse_strays(frame, file=file)
    cells = [_wide_cells(frame, candidate=name, file=file) for name in names]
    labelled = [
        queries.select("row").hstack(part).with_columns(scorer=pl.lit(columns.scorer))
        for part in cells
    ]
    return Part(queries=queries, cells=pl.concat(labelled, how="diagonal"), notes=notes)


def _wide_cells(frame: pl.DataFrame, *, candidate: str, file: Path) -> pl.DataFrame:
    """One candidate's scores and what stands beside them, a row a query."""
    beside = {
        name: frame[f"{prefix}:{candidate}"]
        for prefix, name in WIDE_FIELDS.items()
        if f"{prefix}:{candidate}" in frame.columns
    }
    fields = [_field(values, name=name, file=file) for name, values in beside.items()]
    cells = pl.DataFrame([numbers_of(frame[candidate], file=file).alias("value"), *fields])
    return _weighted(cells).with_columns(candidate=pl.lit(candidate))


def _weighted(cells: pl.DataFrame) -> pl.DataFrame:
    """With `weight`, 1 where the table does not say."""
    if "weight" not in cells.columns:
        return cells.with_columns(weight=pl.lit(1.0))
    return cells.with_columns(pl.col("weight").fill_null(1.0))


def _candidates(
    frame: pl.DataFrame, *, file: Path, columns: Columns
) -> tuple[list[str], tuple[str, ...]]:
    """The candidates' columns of a wide table, and remarks on columns that are none."""
    if columns.candidates is not None:
        names = [name for name in columns.candidates if name in frame.columns]
    else:
        names = _free_columns(frame, file=file, columns=columns)
    scored = [name for name in names if _holds_numbers(frame[name])]
    if not scored:
        raise InputError(
            f"{file}: no column with a candidate's scores; expected one numeric column a "
            "candidate, or the columns 'candidate' and 'score'"
        )
    other = [name for name in names if name not in scored]
    return scored, tuple(f"{file}: column '{name}' holds no number, left out" for name in other)


def _free_columns(frame: pl.DataFrame, *, file: Path, columns: Columns) -> list[str]:
    taken = {
        _text_column(frame, file=file, columns=columns),
        *(columns.task, columns.split, columns.reference),
    }
    return [
        name
        for name in frame.columns
        if name not in taken
        and name.lower() not in BOOKKEEPING
        and name.partition(":")[0] not in WIDE_FIELDS
    ]


def _holds_numbers(values: pl.Series) -> bool:
    if values.dtype in (pl.String, pl.Null):
        return bool(lenient(values).is_not_null().any())
    return can_hold_numbers(values)


def _refuse_strays(frame: pl.DataFrame, *, file: Path) -> None:
    for name in frame.columns:
        prefix, colon, candidate = name.partition(":")
        if colon and prefix in WIDE_FIELDS and candidate not in frame.columns:
            raise InputError(
                f"{file}, field '{name}': there is no column '{candidate}' with this candidate's "
                "scores; add it or take this one out"
            )


def _wide_table(parts: list[Part]) -> ScoreTable:
    return table_of(
        pl.concat([part.queries for part in parts]),
        pl.concat([part.cells for part in parts], how="diagonal"),
        notes=[note for part in parts for note in part.notes],
    )


def _long_part(frame: pl.DataFrame, *, file: Path, columns: Columns, first_row: int) -> Part:
    queries = _queries(frame, file=file, columns=columns, first_row=first_row)
    fields = [
        _field(frame[column], name=name, file=file)
        for column, name in LONG_FIELDS.items()
        if column in frame.columns
    ]
    cells = pl.DataFrame(
        [
            queries["row"],
            names_of(frame["candidate"], file=file).alias("candidate"),
            label(frame, column="scorer", default=columns.scorer).alias("scorer"),
            numbers_of(frame["score"], file=file).alias("value"),
            *fields,
        ]
    )
    if columns.candidates is not None:
        cells = cells.filter(pl.col("candidate").is_in(columns.candidates))
    return Part(queries=queries, cells=_weighted(cells))


def _long_table(parts: list[Part]) -> ScoreTable:
    """Rows as they are; a repetition is counted for each candidate and scorer."""
    queries = pl.concat([part.queries for part in parts])
    cells = pl.concat([part.cells for part in parts], how="diagonal")
    rows = queries.join(cells, on="row", how="inner", maintain_order="left")
    return long_table(rows.with_columns(key=pl.lit(None, dtype=pl.String)))

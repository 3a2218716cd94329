"""Plain score tables in Parquet, CSV or JSONL: a column a candidate (wide) or a row a score (long).

Wide: the text, optionally task, split and reference, and a numeric column for each candidate;
beside it optionally `cost:<candidate>` (USD a query), `tokens:<candidate>` (completion tokens),
`prompt_tokens:<candidate>`, `samples:<candidate>` and `answer:<candidate>`.
Long: the same query columns with `candidate` and `score`, optionally `scorer`, `samples`,
`cost_usd`, `prompt_tokens`, `completion_tokens` and `answer`.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.score_table import (
    LARGEST_SCORE,
    QUERY_KEY,
    ROW_SCHEMA,
    SPLIT_WORDS,
    ScoreTable,
    checked_texts,
    conform,
    count_left_out,
    json_lines,
    named_task_and_split,
    refuse_twin_columns,
    shown,
    table_of,
    with_occurrence,
)

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
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TRUTH = {"true": "1", "false": "0"}


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
    files = _files(path)
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


def load(file: Path) -> pl.DataFrame:
    """A table file as it is, CSV as text only.

    Raises:
        InputError: it cannot be read; broken CSV and JSONL name the row.
    """
    kind = _kind(file)
    try:
        if kind == ".parquet":
            frame = pl.read_parquet(file, glob=False)
        elif kind == ".csv":
            frame = refuse_twin_columns(
                pl.read_csv(file, infer_schema=False, glob=False), where=str(file)
            )
        else:
            frame = _read_jsonl(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        if kind == ".csv":
            _explain_csv(file)
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"{file}: cannot be read as {kind[1:]} ({reason})") from error
    if frame.is_empty():
        raise InputError(f"{file}: no rows")
    return frame


def _kind(file: Path) -> str:
    """`.parquet`, `.csv` or `.jsonl`; empty for anything else."""
    endings = [ending.lower() for ending in file.suffixes]
    packed = bool(endings) and endings[-1] in COMPRESSIONS
    last = endings[-2] if packed and len(endings) > 1 else (endings[-1] if endings else "")
    kind = {".ndjson": ".jsonl"}.get(last, last)
    allowed = (".csv", ".jsonl") if packed else (".csv", ".jsonl", ".parquet")
    return kind if kind in allowed else ""


def _stem(file: Path) -> str:
    """The file's name without its endings."""
    bare = file.with_suffix("") if file.suffix.lower() in COMPRESSIONS else file
    return bare.stem


def _files(path: str) -> list[Path]:
    found = Path(path).expanduser()
    if found.is_dir():
        files = sorted(file for file in found.iterdir() if file.is_file() and _kind(file))
    elif found.exists():
        files = [found]
    else:
        pattern = found.relative_to(found.anchor)
        files = sorted(Path(found.anchor).glob(str(pattern))) if pattern.name else []
    if not files:
        raise InputError(f"{path}: no such table file; expected .parquet, .csv or .jsonl")
    for file in files:
        if not _kind(file):
            raise InputError(
                f"{file}: unknown format; expected .parquet, or .csv or .jsonl, as it is or "
                "compressed (.gz, .zst)"
            )
    return files


def _read_jsonl(file: Path) -> pl.DataFrame:
    """A JSONL file; where a column mixes types, or a line is broken, line by line."""
    try:
        data = file.read_bytes().removeprefix(BYTE_ORDER_MARK)
        return pl.read_ndjson(data, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return _read_lines(file)


def _read_lines(file: Path) -> pl.DataFrame:
    """A JSONL file with every value as text, as in CSV.

    Raises:
        InputError: a broken line, or a value that is a list or an object.
    """
    lines = _decompressed(file).split("\n")
    columns: dict[str, None] = {}
    entries = []
    for row, entry in enumerate(json_lines(lines, where=str(file)), start=1):
        for name, value in entry.items():
            if isinstance(value, list | dict):
                raise InputError(
                    f"{file}, row {row}, field '{name}': expected text or a number, "
                    f"found {shown(value)}"
                )
            columns[name] = None
        entries.append(entry)
    return pl.DataFrame(
        {name: [_as_text(entry.get(name)) for entry in entries] for name in columns},
        schema=dict.fromkeys(columns, pl.String),
    )


def _as_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _explain_csv(file: Path) -> None:
    """Find the row that the reader stumbled over, and name it.

    Raises:
        InputError: the first broken row of a CSV file. Returns when there is none.
    """
    if not file.is_file():
        return
    text = _decompressed(file)
    if not text.strip():
        raise InputError(f"{file}: the file is empty")
    rows = csv.reader(io.StringIO(text, newline=""))
    width, number = len(next(rows)), 0
    try:
        for number, row in enumerate(rows, start=1):
            if len(row) > width:
                raise InputError(
                    f"{file}, row {number}: {len(row)} fields, the header has {width}; "
                    "quote fields that hold a comma"
                )
    except csv.Error as error:
        raise InputError(f"{file}, row {number + 1}: broken CSV ({error})") from error


def _decompressed(file: Path) -> str:
    """A text file that may be compressed, as one string."""
    import pyarrow as pa

    compression = COMPRESSIONS.get(file.suffix.lower())
    try:
        with pa.input_stream(str(file), compression=compression) as stream:
            data: bytes = stream.read()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}, line {line}: bytes that are not UTF-8; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _queries(frame: pl.DataFrame, *, file: Path, columns: Columns, first_row: int) -> pl.DataFrame:
    """`row`, `split`, `task`, `text`, `reference` of every row of a file."""
    _refuse_unknown(frame, file=file, columns=columns)
    task, split = named_task_and_split(_stem(file))
    text = _text_column(frame, file=file, columns=columns)
    texts = frame[text]
    if texts.dtype.is_nested():
        raise InputError(f"{file}, field '{text}': expected text, found {texts.dtype}")
    checked = checked_texts(texts.cast(pl.String).to_list(), where=str(file), name=text)
    return pl.DataFrame(
        {
            "row": pl.int_range(first_row, first_row + frame.height, eager=True),
            "text": pl.Series(checked, dtype=pl.String),
            "task": _label(frame, column=columns.task, default=task or "table"),
            "split": _splits(frame, file=file, column=columns.split, default=split),
            "reference": _label(frame, column=columns.reference, default=None),
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


def _label(frame: pl.DataFrame, *, column: str, default: str | None) -> pl.Series:
    """(n_rows,) a column as text, nulls and an absent column as the default."""
    if column not in frame.columns:
        return pl.repeat(default, frame.height, dtype=pl.String, eager=True)
    values = frame[column].cast(pl.String)
    return values if default is None else values.fill_null(default)


def _splits(frame: pl.DataFrame, *, file: Path, column: str, default: str) -> pl.Series:
    said = _label(frame, column=column, default=default).str.strip_chars().str.to_lowercase()
    splits = said.replace_strict(SPLIT_WORDS, default=None, return_dtype=pl.String)
    wrong = splits.is_null().arg_true()
    if len(wrong) > 0:
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{column}': expected train, validation, "
            f"calibration or test, found {shown(frame[column][wrong[0]])}"
        )
    return splits


def _numbers(values: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) the column as numbers; empty text is null, true and false are 1 and 0.

    Raises:
        InputError: a value is not a finite number.
    """
    if not _can_hold_numbers(values):
        raise InputError(f"{file}, field '{values.name}': expected numbers, found {values.dtype}")
    numbers = _lenient(values)
    given = _given(values)
    wrong = (given & ~(numbers.abs() <= LARGEST_SCORE).fill_null(False)).arg_true()
    if len(wrong) > 0:
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{values.name}': expected a finite number, "
            f"found {shown(values[wrong[0]])}; leave the cell empty where there is none"
        )
    return numbers


def _lenient(values: pl.Series) -> pl.Series:
    """(n_rows,) numbers, null where there is none."""
    if values.dtype != pl.String:
        return values.cast(pl.Float64, strict=False)
    said = values.str.strip_chars().str.to_lowercase()
    return said.replace(TRUTH).cast(pl.Float64, strict=False)


def _given(values: pl.Series) -> pl.Series:
    """(n_rows,) True where the cell is not empty."""
    if values.dtype != pl.String:
        return values.is_not_null()
    return (values.str.strip_chars() != "").fill_null(False)


def _field(values: pl.Series, *, name: str, file: Path) -> pl.Series:
    """A column as the field `name` of `ROW_SCHEMA`."""
    typed = values.cast(pl.String) if name == "answer" else _numbers(values, file=file)
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
    cells = pl.DataFrame([_numbers(frame[candidate], file=file).alias("value"), *fields])
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


def _can_hold_numbers(values: pl.Series) -> bool:
    return values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.String, pl.Null)


def _holds_numbers(values: pl.Series) -> bool:
    if values.dtype in (pl.String, pl.Null):
        return bool(_lenient(values).is_not_null().any())
    return _can_hold_numbers(values)


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
            _names(frame["candidate"], file=file).alias("candidate"),
            _label(frame, column="scorer", default=columns.scorer).alias("scorer"),
            _numbers(frame["score"], file=file).alias("value"),
            *fields,
        ]
    )
    if columns.candidates is not None:
        cells = cells.filter(pl.col("candidate").is_in(columns.candidates))
    return Part(queries=queries, cells=_weighted(cells))


def _names(names: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) the candidates' names.

    Raises:
        InputError: a row has none.
    """
    said = names.cast(pl.String).str.strip_chars()
    wrong = (said.is_null() | (said == "")).arg_true()
    if len(wrong) > 0:
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{names.name}': expected a candidate's name"
        )
    return said


def _long_table(parts: list[Part]) -> ScoreTable:
    """Rows as they are; a repetition is counted for each candidate and scorer."""
    queries = pl.concat([part.queries for part in parts])
    cells = pl.concat([part.cells for part in parts], how="diagonal")
    rows = queries.join(cells, on="row", how="inner", maintain_order="left")
    keys = ["split", "task", "text", "candidate", "scorer"]
    numbered = with_occurrence(rows, keys=keys)
    known = numbered.filter(pl.col("value").is_not_null())
    first = numbered.unique(QUERY_KEY, maintain_order=True)
    unscored = first.join(known, on=QUERY_KEY, how="anti")
    return ScoreTable(
        rows=conform(known, schema=ROW_SCHEMA),
        left_out=count_left_out(unscored, reason="no candidate has a score"),
    )

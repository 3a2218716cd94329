"""The files behind a plain table: Parquet, CSV, JSON Lines, as they are or compressed."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cluster.errors import InputError
from cluster.importers.score_table import (
    LONE_SURROGATE,
    json_lines,
    refuse_constant,
    refuse_twin_columns,
    shown,
)

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def load(file: Path, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A table file as it is, CSV as text only; of `columns` those that it has.

    Raises:
        InputError: it cannot be read; broken CSV and JSONL name the row.
    """
    kind = kind_of(file)
    try:
        if kind == ".parquet":
            frame = _read_parquet(file, columns=columns)
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
    return frame if columns is None else frame.select(name for name in columns if name in frame)


def _read_parquet(file: Path, *, columns: Sequence[str] | None) -> pl.DataFrame:
    """A Parquet file; of `columns` those it has, or all of them where it has none."""
    wanted = [name for name in pl.read_parquet_schema(file) if name in (columns or ())]
    return pl.read_parquet(file, columns=wanted or None, glob=False)


def kind_of(file: Path, *, json_lists: bool = False) -> str:
    """`.parquet`, `.csv`, `.jsonl`, or `.json` if lists are taken; empty for anything else."""
    endings = [ending.lower() for ending in file.suffixes]
    packed = bool(endings) and endings[-1] in COMPRESSIONS
    last = endings[-2] if packed and len(endings) > 1 else (endings[-1] if endings else "")
    kind = {".ndjson": ".jsonl"}.get(last, last)
    texts = (".csv", ".jsonl", ".json") if json_lists else (".csv", ".jsonl")
    return kind if kind in (texts if packed else (*texts, ".parquet")) else ""


def stem_of(file: Path) -> str:
    """The file's name without its endings."""
    bare = file.with_suffix("") if file.suffix.lower() in COMPRESSIONS else file
    return bare.stem


def find_tables(path: str, *, json_lists: bool = False) -> list[Path]:
    """The table files a path stands for: itself, those of a folder, or those of a glob.

    `json_lists`: whether a `.json` file, a list of objects, is a table too.

    Raises:
        InputError: there is none, or a file that was named is of another format.
    """

    def is_table(file: Path) -> bool:
        return bool(kind_of(file, json_lists=json_lists))

    kinds = ".csv, .jsonl or .json" if json_lists else ".csv or .jsonl"
    found = Path(path).expanduser()
    if found.is_dir():
        files = sorted(file for file in found.iterdir() if file.is_file() and is_table(file))
    elif found.exists():
        files = [found]
    else:
        pattern = found.relative_to(found.anchor)
        files = sorted(Path(found.anchor).glob(str(pattern))) if pattern.name else []
    if not files:
        raise InputError(f"{path}: no such table file; expected .parquet, {kinds}")
    for file in files:
        if not is_table(file):
            raise InputError(
                f"{file}: unknown format; expected .parquet, or {kinds}, as it is or "
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
    lines = decompressed(file).split("\n")
    entries = list(json_lines(lines, where=str(file)))
    names = dict.fromkeys(name for entry in entries for name in entry)
    values = {name: [entry.get(name) for entry in entries] for name in names}
    for name, said in values.items():
        _refuse_lists(said, name=name, file=file)
    return pl.DataFrame(
        {name: list(map(_as_text, said)) for name, said in values.items()},
        schema=dict.fromkeys(values, pl.String),
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
    text = decompressed(file)
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


def decompressed(file: Path) -> str:
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


def load_fields(file: Path, *, names: Sequence[str], lists: Sequence[str]) -> pl.DataFrame:
    """The columns of a table file that have one of some names.

    JSON is read value by value, so that a column may mix types: everything becomes text, lists and
    objects JSON text. Of Parquet nothing else is read, and everything keeps its type.

    Args:
        file: of any kind, a JSON list among them.
        names: of the columns.
        lists: the columns among them that may hold lists and objects.

    Raises:
        InputError: it cannot be read, is empty, or holds a list where none may be.
    """
    kind = kind_of(file, json_lists=True)
    if kind in (".json", ".jsonl"):
        return _fields_of(_entries(file, kind=kind), names=names, lists=lists, file=file)
    frame = load(file, columns=names)
    for name in frame.columns:
        if frame[name].dtype.is_nested() and name not in lists:
            raise InputError(f"{file}, field '{name}': expected text, found {frame[name].dtype}")
    return frame


def _entries(file: Path, *, kind: str) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, or of one JSON list."""
    text = decompressed(file)
    if kind == ".jsonl":
        return list(json_lines(text.split("\n"), where=str(file)))
    try:
        entries = json.loads(text, parse_constant=refuse_constant)
    except ValueError as error:
        raise InputError(f"{file}: broken JSON ({error}); is the file complete?") from error
    if not isinstance(entries, list):
        raise InputError(f"{file}: expected a JSON list of objects, found {shown(entries)}")
    for row, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise InputError(f"{file}, row {row}: expected a JSON object, found {shown(entry)}")
    return entries


def _fields_of(
    entries: list[dict[str, Any]], *, names: Sequence[str], lists: Sequence[str], file: Path
) -> pl.DataFrame:
    if not entries:
        raise InputError(f"{file}: no rows")
    found = {}
    for name in names:
        values = [entry.get(name) for entry in entries]
        if any(name in entry for entry in entries):
            if name not in lists:
                _refuse_lists(values, name=name, file=file)
            found[name] = pl.Series(map(_written, values), dtype=pl.String)
    return pl.DataFrame(found)


def _refuse_lists(values: Sequence[Any], *, name: str, file: Path) -> None:
    for row, value in enumerate(values, start=1):
        if isinstance(value, list | dict):
            raise InputError(
                f"{file}, row {row}, field '{name}': expected text or a number, found "
                f"{shown(value)}"
            )


def _written(value: object) -> str | None:
    """A JSON value as text that a table can hold, whatever stood in it."""
    text = _as_text(value)
    return None if text is None else LONE_SURROGATE.sub("\ufffd", text)

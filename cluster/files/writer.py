"""Writing a frame as one file of any format, whole or not at all."""

import io
import json
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.datatypes import DataTypeClass

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.files.batch import ROW
from cluster.files.formula import harmless, harmless_names
from cluster.files.schema import as_text
from cluster.files.source import Format, file_format
from cluster.files.stream import CODECS
from cluster.storage import Storage, telling_full_disk

# What a file that is being written to S3 has in memory; 10,000 of them are the most it can have.
S3_BLOCK_BYTES = 16 << 20


def write_shard(frame: pl.DataFrame, uri: str, *, json_columns: Collection[str] = ()) -> None:
    """Write or replace a file, local or on S3; format and compression by its extension.

    A reader sees the old file or the new one, never a part. `__row__` is left out. Parquet keeps
    all types. In JSON Lines times and dates are ISO 8601 texts; in CSV and TSV everything is text
    and lists and objects are JSON, null is nothing and the empty text is `""`; what begins like a
    formula, the name of a column too, gets a mark in front, which reading takes off again
    (`cluster.files.formula`).

    Args:
        frame: the rows.
        uri: local path or `s3://` address; .parquet, .jsonl, .csv, .tsv, text also .gz or .zst.
        json_columns: text columns that hold JSON (as `Batch.json_columns`); JSON Lines gets their
            values as lists and objects again.

    Raises:
        InputError: the extension is unknown, or the format cannot hold a column.
    """
    storage = Storage.at(uri)
    kind, compression = file_format(storage.uri)
    data = _rendered(frame.drop(ROW, strict=False), kind=kind, uri=uri, json_columns=json_columns)
    if compression != "none":
        packed = pa.BufferOutputStream()
        with pa.CompressedOutputStream(packed, CODECS[compression]) as stream:
            stream.write(data)
        data = packed.getvalue().to_pybytes()
    storage.write(storage.uri, data)


@dataclass(frozen=True)
class Rows:
    """Rows to write.

    Attributes:
        frame: the rows.
        json_columns: text columns that hold JSON (as `Batch.json_columns`).
    """

    frame: pl.DataFrame
    json_columns: Collection[str] = ()


def write_file(parts: Iterable[Rows], uri: str) -> int:
    """Write or replace one file from many frames of the same columns, as `write_shard` does.

    Only one frame is in memory at a time; the file appears when the last is written. What is JSON
    in one frame may be a plain text in the next. Returns the number of rows.

    Raises:
        InputError: as `write_shard`.
    """
    storage = Storage.at(uri)
    kind, compression = file_format(storage.uri)
    rows = 0
    with whole_file(storage) as sink:
        if kind == "parquet":
            return _parquet_file((part.frame for part in parts), sink)
        packed = (
            sink
            if compression == "none"
            else pa.CompressedOutputStream(pa.PythonFile(sink, mode="w"), CODECS[compression])
        )
        for number, part in enumerate(parts):
            data = _rendered(
                part.frame,
                kind=kind,
                uri=uri,
                json_columns=part.json_columns,
                header=number == 0,
            )
            packed.write(data)
            rows += part.frame.height
        if packed is not sink:
            packed.close()
    return rows


def _parquet_file(frames: Iterable[pl.DataFrame], sink: Any) -> int:
    rows, writer = 0, None
    for frame in frames:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd")
        writer.write_table(table.cast(writer.schema))
        rows += frame.height
    assert writer is not None, "no frame to write"
    writer.close()
    return rows


@contextmanager
def whole_file(storage: Storage) -> Iterator[Any]:
    """A stream to a file that appears, or replaces the one there, only when the block ends well."""
    failpoint("write.before", of=storage.uri)
    if storage.is_s3:
        # A multipart upload: nothing is there before it is closed.
        stream = storage.filesystem().open(storage.uri, "wb", block_size=S3_BLOCK_BYTES)
        try:
            yield stream
        except BaseException:
            stream.discard()
            raise
        stream.close()
        failpoint("write.after", of=storage.uri)
        return
    path = Path(storage.uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with telling_full_disk(path):
            with temporary.open("wb") as stream:
                yield stream
            failpoint("write.beside", of=storage.uri)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    failpoint("write.after", of=storage.uri)


def check_writable(schema: pl.Schema, *, uri: str) -> None:
    """Make sure that a file's format can hold some columns.

    Raises:
        InputError: it cannot, or the extension is unknown.
    """
    kind, _ = file_format(uri)
    if kind == "parquet":
        return
    for name, dtype in schema.items():
        what = "bytes" if _holds_bytes(dtype) else ""
        if dtype == pl.Duration and kind != "jsonl":
            what = "durations"
        if what:
            raise InputError(f"{uri}: column '{name}' holds {what}; write .parquet or leave it out")


def _holds_bytes(dtype: pl.DataType | DataTypeClass) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(map(_holds_bytes, dtype.to_schema().values()))
    if isinstance(dtype, pl.List | pl.Array):
        return _holds_bytes(dtype.inner)
    return dtype == pl.Binary


def _rendered(
    frame: pl.DataFrame,
    *,
    kind: Format,
    uri: str,
    json_columns: Collection[str],
    header: bool = True,
) -> bytes:
    buffer = io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(buffer)
        return buffer.getvalue()
    check_writable(frame.schema, uri=uri)
    if kind == "jsonl" and set(json_columns) & set(frame.columns):
        return _json_lines(frame, json_columns=json_columns)
    if kind == "jsonl":
        frame.write_ndjson(buffer)
    else:
        heads = harmless_names(frame.columns)
        texts = [
            harmless(as_text(name, dtype=dtype)).alias(head)
            for (name, dtype), head in zip(frame.schema.items(), heads, strict=True)
        ]
        separator = "," if kind == "csv" else "\t"
        # A lone null would be an empty line, which every reader skips.
        style: Literal["always", "necessary"] = "always" if frame.width == 1 else "necessary"
        frame.select(texts).write_csv(
            buffer, separator=separator, quote_style=style, include_header=header
        )
    return buffer.getvalue()


def _json_lines(frame: pl.DataFrame, *, json_columns: Collection[str]) -> bytes:
    members = [_member(name, is_json=name in json_columns) for name in frame.columns]
    line = pl.concat_str(pl.lit("{"), pl.concat_str(members, separator=","), pl.lit("}\n"))
    return "".join(frame.select(line=line)["line"]).encode()


def _member(column: str, *, is_json: bool) -> pl.Expr:
    """`"name":value` for each row."""
    if is_json:
        name = json.dumps(column, ensure_ascii=False)
        return pl.concat_str(pl.lit(f"{name}:"), pl.col(column).fill_null("null"))
    alone = pl.struct(column).struct.json_encode()
    return alone.str.strip_prefix("{").str.strip_suffix("}")

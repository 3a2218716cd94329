"""Parquet: a row's number counts from the file's first row. A damaged file is refused whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from cluster.errors import InputError
from cluster.files.batch import ROW, Part, broken_frame
from cluster.files.schema import FileSchema, as_text
from cluster.files.source import SourceFile

# What a damaged file raises: a name that is not UTF-8 as itself or, inside a struct, as a panic,
# and sizes that are lies as too much memory or too large a number.
DAMAGED = (
    pa.ArrowException,
    pl.exceptions.PanicException,
    UnicodeDecodeError,
    MemoryError,
    OverflowError,
)


class RowGroup(NamedTuple):
    """One row group as the footer has it: its rows, and their bytes before compression."""

    rows: int
    bytes: int


def infer_schema(source: SourceFile) -> FileSchema:
    """The columns of the footer.

    Raises:
        InputError: the file is damaged, or a name stands in it twice.
    """
    with _opened(source) as file:
        names = file.schema_arrow.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{source.uri}: two columns are called '{twice[0]}'; rename one")
        return FileSchema(source.uri, _frame(file.schema_arrow.empty_table()).schema)


def row_groups(source: SourceFile) -> list[RowGroup]:
    """The footer's row groups.

    Raises:
        InputError: the file is damaged.
    """
    with _opened(source) as file:
        footer = file.metadata
        found = [footer.row_group(number) for number in range(footer.num_row_groups)]
        return [RowGroup(group.num_rows, group.total_byte_size) for group in found]


def read_parts(source: SourceFile, *, schema: FileSchema, rows_per_batch: int) -> Iterator[Part]:
    """The file's rows; memory holds one row group's pages at most.

    Raises:
        InputError: the file is damaged, or holds text that is not UTF-8.
    """
    for frame in read_frames(source, rows_per_batch=rows_per_batch):
        texts = [
            as_text(name, dtype=dtype)
            for name, dtype in frame.schema.items()
            if schema.dtypes.get(name) == pl.String
        ]
        yield Part(frame.with_columns(texts), broken_frame(source.uri, rows=[]))


def read_frames(
    source: SourceFile,
    *,
    rows_per_batch: int,
    groups: Sequence[int] | None = None,
    first_row: int = 1,
) -> Iterator[pl.DataFrame]:
    """The rows of some row groups, or of all, with their numbers, at most so many at a time.

    Args:
        source: the file.
        rows_per_batch: rows of a frame, at most.
        groups: the row groups to read; all where it is None.
        first_row: number of the first row of the first of them.

    Raises:
        InputError: the file is damaged, or holds text that is not UTF-8.
    """
    row = first_row
    with _opened(source) as file:
        for arrow in file.iter_batches(batch_size=rows_per_batch, row_groups=groups):
            arrow.validate(full=True)
            frame = _frame(pa.Table.from_batches([arrow]))
            numbers = pl.int_range(row, row + frame.height, dtype=pl.Int64, eager=True).alias(ROW)
            yield frame.with_columns(numbers)
            row += frame.height


@contextmanager
def _opened(source: SourceFile) -> Iterator[Any]:
    with source.open() as stored:
        try:
            yield parquet.ParquetFile(stored)
        except (*DAMAGED, OSError) as error:
            raise InputError(
                f"{source.uri}: damaged or not Parquet ({error}); make or copy the file again"
            ) from error


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame

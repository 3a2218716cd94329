"""Parquet: a row's number counts from the file's first row. A damaged file is refused whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from cluster.errors import InputError
from cluster.files.batch import ROW, Part, broken_frame
from cluster.files.schema import FileSchema, as_text
from cluster.files.source import SourceFile


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


def read_parts(source: SourceFile, *, schema: FileSchema, rows_per_batch: int) -> Iterator[Part]:
    """The file's rows; memory holds one row group's pages at most.

    Raises:
        InputError: the file is damaged, or holds text that is not UTF-8.
    """
    row = 1
    with _opened(source) as file:
        for arrow in file.iter_batches(batch_size=rows_per_batch):
            arrow.validate(full=True)
            frame = _frame(pa.Table.from_batches([arrow]))
            texts = [
                as_text(name, dtype=dtype)
                for name, dtype in frame.schema.items()
                if schema.dtypes[name] == pl.String
            ]
            numbers = pl.int_range(row, row + frame.height, dtype=pl.Int64).alias(ROW)
            yield Part(frame.with_columns(*texts, numbers), broken_frame(source.uri, rows=[]))
            row += frame.height


@contextmanager
def _opened(source: SourceFile) -> Iterator[Any]:
    with source.open() as stored:
        try:
            yield parquet.ParquetFile(stored)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{source.uri}: damaged or not Parquet ({error}); make or copy the file again"
            ) from error


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame

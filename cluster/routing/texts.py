"""Where the query of a row stands."""

import polars as pl

from cluster.errors import InputError
from cluster.files.batch import Batch, rows_with_text
from cluster.files.schema import FileSchema, require_column
from cluster.files.source import Format
from cluster.routing.spec import RouteSpec


def check_texts(schema: FileSchema, *, spec: RouteSpec, file_format: Format) -> None:
    """Make sure that the rows of a file have queries where the spec looks for them.

    Raises:
        InputError: they have not; names the file and its columns.
    """
    require_column(schema, column=spec.text_column, flag="--text-column")
    dtype = schema.dtypes[spec.text_column]
    # In JSON Lines each row's value is judged by itself.
    if file_format == "parquet" and dtype not in (pl.String, pl.Null):
        raise InputError(
            f"{schema.file}: field '{spec.text_column}' is {dtype} in every row, expected a text; "
            "name another --text-column, or write the file with texts in it"
        )


def strict_columns(spec: RouteSpec) -> list[str]:
    """Columns of JSON Lines in which anything but a text breaks its row."""
    return [spec.text_column]


def rows_with_query(batch: Batch, *, spec: RouteSpec) -> Batch:
    """The batch with rows that have no usable query moved to the broken ones."""
    return rows_with_text(batch, text_column=spec.text_column)


def queries_of(rows: pl.DataFrame, *, spec: RouteSpec) -> pl.Series:
    """(n_rows,) what is routed of each row."""
    return rows[spec.text_column]

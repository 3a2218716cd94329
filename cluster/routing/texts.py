"""Where the query of a row stands."""

import polars as pl

from cluster.errors import InputError
from cluster.files.batch import CHARACTERS, CHAT_COLUMNS, MESSAGES, ROW, Batch
from cluster.files.queries import with_queries
from cluster.files.schema import FileSchema
from cluster.files.source import Format
from cluster.routing.spec import RouteSpec


def check_texts(schema: FileSchema, *, spec: RouteSpec, file_format: Format) -> FileSchema:
    """Make sure that the rows of a file have queries where the spec looks for them.

    Returns:
        The schema as the file is to be read.

    Raises:
        InputError: they have not; names the file and its columns.
    """
    checked = spec.queries.check(schema)
    if spec.texts == "openai_batch":
        return checked
    dtype = schema.dtypes[spec.text_column]
    is_category = dtype in (pl.Categorical, pl.Enum)
    if is_category and spec.texts == "text":
        checked = checked.with_text([spec.text_column])
    is_text = is_category or dtype in (pl.String, pl.Null)
    is_list = isinstance(dtype, pl.List)
    # In JSON Lines each row's value is judged by itself.
    if file_format == "parquet" and not (is_text or (is_list and spec.texts == "messages")):
        expected, flag = ("a text", "--text-column")
        if spec.texts == "messages":
            expected, flag = "a list of messages", "--messages-column"
        raise InputError(
            f"{schema.file}: field '{spec.text_column}' is {dtype} in every row, expected "
            f"{expected}; name another {flag}, or write the file anew"
        )
    return checked


def strict_columns(spec: RouteSpec) -> list[str]:
    """Columns of JSON Lines in which anything but a text breaks its row."""
    return list(spec.queries.strict_text)


def rows_with_query(batch: Batch, *, spec: RouteSpec) -> Batch:
    """The batch with rows that have no usable query moved to the broken ones."""
    return with_queries(batch, queries=spec.queries)


def queries_of(rows: pl.DataFrame, *, spec: RouteSpec) -> pl.Series:
    """(n_rows,) what is routed of each row."""
    return rows[spec.queries.text]


def chats_of(rows: pl.DataFrame) -> pl.Series | None:
    """(n_rows,) the chats that lead to the queries, JSON, null for a text alone; None: all are."""
    return rows[MESSAGES] if MESSAGES in rows.columns else None


def characters_of(rows: pl.DataFrame) -> pl.Series | None:
    """(n_rows,) characters of the whole chats; None where a row asks with its text alone."""
    return rows[CHARACTERS] if CHARACTERS in rows.columns else None


def as_in_file(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns they have in the file, and no others."""
    return rows.drop(ROW, *CHAT_COLUMNS, strict=False)

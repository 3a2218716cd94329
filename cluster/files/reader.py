"""Reading a query file of any format as batches, in bounded memory."""

from collections.abc import Collection, Iterator

from cluster.errors import InputError
from cluster.files import delimited, jsonl, parquet
from cluster.files.batch import Batch, Part, rebatch
from cluster.files.schema import FileSchema, require_column
from cluster.files.source import SourceFile

ROWS_PER_BATCH = 10_000


def read_schema(source: SourceFile) -> FileSchema:
    """The columns of a file and their types; every batch of it has the same.

    Parquet: its footer. CSV and TSV: the header, everything is text. JSON Lines: settled by one
    pass over the whole file, so hand the result to `read_batches` rather than paying twice.

    Raises:
        InputError: the file is damaged, has no columns, or two of the same name.
    """
    if source.format == "parquet":
        schema = parquet.infer_schema(source)
    elif source.format == "jsonl":
        schema = jsonl.infer_schema(source)
    else:
        schema = delimited.infer_schema(source)
    return schema


def check_column(source: SourceFile, *, column: str, flag: str) -> None:
    """Make sure a file has the column a flag names, without reading more of it than that takes.

    JSON Lines are read as a whole only when the first lines do not have the field.

    Raises:
        InputError: as `read_schema` and `require_column`.
    """
    if source.format == "jsonl" and column in jsonl.first_columns(source):
        return
    require_column(read_schema(source), column=column, flag=flag)


def read_batches(
    source: SourceFile,
    *,
    schema: FileSchema | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
    bytes_per_batch: int | None = None,
    columns_as_text: Collection[str] = (),
    strict_text: Collection[str] = (),
) -> Iterator[Batch]:
    """The file's rows in order; each batch covers exactly `rows_per_batch` rows, the last fewer.

    Args:
        source: the file.
        schema: what `read_schema` said of it; read now when None.
        rows_per_batch: rows of the file a batch covers, good and broken.
        bytes_per_batch: a batch that grows larger in memory has fewer rows; None for no limit.
        columns_as_text: columns turned into text whatever they hold; lists and objects as JSON.
        strict_text: columns of JSON Lines in which a value that is not a text breaks its row.

    Raises:
        InputError: the file is damaged as a whole, or has no row at all.
    """
    if source.format == "jsonl":
        columns_as_text = {*columns_as_text, *strict_text}
    schema = (schema or read_schema(source)).with_text(columns_as_text)
    parts = _parts(source, schema=schema, rows_per_batch=rows_per_batch, strict_text=strict_text)
    empty = True
    for batch in rebatch(
        parts,
        file=source.uri,
        rows_per_batch=rows_per_batch,
        bytes_per_batch=bytes_per_batch,
        json_columns=schema.json_columns,
    ):
        empty = False
        yield batch
    if empty:
        raise InputError(f"{source.uri}: no rows in it; fill it or leave it out")


def _parts(
    source: SourceFile, *, schema: FileSchema, rows_per_batch: int, strict_text: Collection[str]
) -> Iterator[Part]:
    if source.format == "parquet":
        return parquet.read_parts(source, schema=schema, rows_per_batch=rows_per_batch)
    if source.format == "jsonl":
        return jsonl.read_parts(source, schema=schema, strict_text=strict_text)
    return delimited.read_parts(source, schema=schema)

"""CSV and TSV as in RFC 4180, strictly; a row's number counts records below the header.

Every value is text: `007` and `1.50` stay what they are. An empty value is null, `""` is the empty
text; our own mark before what begins like a formula is taken off. pyarrow parses what is known to
be well formed: blocks without a quote at once, others after a regular expression has found where
each record ends. A record that does not match gives up its first line only, so a stray quote costs
one row and not the rest of the file.
"""

import csv as stdlib_csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa
from pyarrow import csv

from cluster.errors import InputError
from cluster.files.batch import ROW, BrokenRow, Part, broken_frame
from cluster.files.formula import as_written, names_as_written
from cluster.files.schema import FileSchema
from cluster.files.source import SourceFile
from cluster.files.stream import MAX_RECORD_BYTES, line_blocks

SEPARATORS = {"csv": ",", "tsv": "\t"}
LINE_END = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True)
class Dialect:
    """How records look.

    Attributes:
        separator: one character.
        columns: the header's names.
    """

    separator: str
    columns: tuple[str, ...]

    @property
    def _field(self) -> bytes:
        plain = rb'(?!")[^\r\n' + self.separator.encode() + rb"]*+"
        return rb'(?:"(?:[^"]++|"")*+"|' + plain + rb")"

    @cached_property
    def record(self) -> re.Pattern[bytes]:
        """Blank lines, then a record with as many fields as the header, with its line end."""
        more = b"(?:" + self.separator.encode() + self._field + b")"
        repeat = b"{%d}+" % (len(self.columns) - 1)
        return re.compile(rb"[\r\n]*+" + self._field + more + repeat + rb"(?:\r\n?|\n)")

    @cached_property
    def any_record(self) -> re.Pattern[bytes]:
        """A record with any number of fields."""
        more = b"(?:" + self.separator.encode() + self._field + b")*+"
        return re.compile(self._field + more + rb"(?:\r\n?|\n)")

    @cached_property
    def open_record(self) -> re.Pattern[bytes]:
        """A record whose last value is quoted and not closed before the data ends."""
        before = b"(?:" + self._field + self.separator.encode() + b")*+"
        return re.compile(rb"[\r\n]*+" + before + rb'"(?:[^"]++|"")*+\Z')

    @cached_property
    def value_and_separator(self) -> re.Pattern[bytes]:
        return re.compile(self._field + self.separator.encode())


@dataclass(frozen=True)
class Records:
    """What a block holds.

    Attributes:
        data: the good records, one after the other.
        numbers: their row numbers.
        broken: the others.
        rest: a record that does not end in this block.
        next_row: number of the next row.
    """

    data: bytes
    numbers: list[int]
    broken: list[BrokenRow]
    rest: bytes
    next_row: int


def infer_schema(source: SourceFile) -> FileSchema:
    """The header's columns, all text.

    Raises:
        InputError: there is no header, it is not UTF-8, or a name stands in it twice.
    """
    names, _ = _header(source, block=next(line_blocks(source), b""))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{source.uri}: column '{twice[0]}' stands twice in the header; rename it")
    return FileSchema(source.uri, pl.Schema(dict.fromkeys(names, pl.String())))


def read_parts(source: SourceFile, *, schema: FileSchema) -> Iterator[Part]:
    """The file's rows, a block at a time."""
    dialect = Dialect(SEPARATORS[source.format], tuple(schema.dtypes))
    rest, row = b"", 1
    for block, final in _with_final(_below_header(source)):
        records = split_records(rest + block, dialect=dialect, first_row=row, final=final)
        frame = _parse(records.data, dialect=dialect).with_columns(
            as_written(pl.col(name)).alias(name) for name in dialect.columns
        )
        assert frame.height == len(records.numbers), "the two ways to read CSV disagree"
        numbers = pl.Series(ROW, records.numbers, dtype=pl.Int64)
        yield Part(frame.with_columns(numbers), broken_frame(source.uri, rows=records.broken))
        rest, row = records.rest, records.next_row


def split_records(data: bytes, *, dialect: Dialect, first_row: int, final: bool) -> Records:
    """Tell the good records from the broken ones.

    Args:
        data: whole lines.
        dialect: separator and columns.
        first_row: number of the first record.
        final: nothing follows, so a value still open at the end is broken, not unfinished.
    """
    utf8 = _is_utf8(data)
    pieces, numbers, broken = [], [], []
    row, at, end = first_row, 0, len(data.rstrip(b"\r\n"))
    while at < end:
        found = dialect.record.match(data, at)
        stop = found.end() if found else _line_end(data, at)
        record = data[at:stop]
        if found and (utf8 or _is_utf8(record)):
            pieces.append(record)
            numbers.append(row)
        elif not found and not final and _unfinished(data, at, dialect=dialect):
            break
        else:
            broken.append(BrokenRow(row, _reason(record, dialect=dialect), record))
        row, at = row + 1, stop
    rest = data[at:] if at < end else b""
    return Records(b"".join(pieces), numbers, broken, rest, row)


def _unfinished(data: bytes, at: int, *, dialect: Dialect) -> bool:
    return len(data) - at <= MAX_RECORD_BYTES and bool(dialect.open_record.match(data, at))


def _line_end(data: bytes, at: int) -> int:
    found = LINE_END.search(data, at)
    return found.end() if found else len(data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _reason(record: bytes, *, dialect: Dialect) -> str:
    try:
        record.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"byte 0x{record[wrong.start]:02x} at offset {wrong.start} of the row is not UTF-8"
    if dialect.any_record.fullmatch(record):
        fields, at = 1, 0
        while found := dialect.value_and_separator.match(record, at):
            fields, at = fields + 1, found.end()
        return f"{fields} fields, expected {len(dialect.columns)}: {', '.join(dialect.columns)}"
    return 'a quote is not closed or has text after it; write a quote inside a value as ""'


def _parse(data: bytes, *, dialect: Dialect) -> pl.DataFrame:
    columns = list(dialect.columns)
    if not data:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))
    # pyarrow drops a byte order mark in front, which here is a value's first character; blank
    # lines it skips.
    data = b"\n" + data
    table = csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(
            column_names=columns, block_size=len(data) + 1, use_threads=False
        ),
        parse_options=csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.large_string()),
            check_utf8=False,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _header(source: SourceFile, *, block: bytes) -> tuple[list[str], bytes]:
    """The names in the first record, and the rest of the block."""
    block = block.lstrip(b"\r\n")
    separator = SEPARATORS[source.format]
    found = Dialect(separator, ()).any_record.match(block)
    try:
        text = found.group().decode("utf-8") if found else ""
    except UnicodeDecodeError as wrong:
        raise InputError(f"{source.uri}: the header is not UTF-8 ({wrong}); save as UTF-8") from (
            wrong
        )
    names = next(stdlib_csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    if not found or not names:
        raise InputError(
            f"{source.uri}: the first line is not a header of columns separated by "
            f"{separator!r}; add one"
        )
    return names_as_written(names), block[found.end() :]


def _below_header(source: SourceFile) -> Iterator[bytes]:
    blocks = line_blocks(source)
    yield _header(source, block=next(blocks, b""))[1]
    yield from blocks


def _with_final(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each block, and whether it is the last."""
    before: bytes | None = None
    for block in blocks:
        if before is not None:
            yield before, False
        before = block
    if before is not None:
        yield before, True

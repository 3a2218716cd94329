"""A batch: consecutive rows of one file, the good ones as a frame, the broken ones with reasons."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl

ROW = "__row__"
# Added to a batch's frame where its own columns do not hold the query as such: the query, the chat
# that leads to it, and how long that is.
TEXT = "__text__"
MESSAGES = "__messages__"
CHARACTERS = "__characters__"
CHAT_COLUMNS = (TEXT, MESSAGES, CHARACTERS)
TROUBLE = "__trouble__"
BROKEN_SCHEMA = pl.Schema(
    {"file": pl.String, "row": pl.Int64, "reason": pl.String, "raw": pl.String}
)
RAW_CHARACTERS = 2000


class BrokenRow(NamedTuple):
    """One row that could not be used.

    Attributes:
        row: number in its file, from 1.
        reason: what is wrong, naming the field where there is one.
        raw: the row as it stands in the file.
    """

    row: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class Part:
    """Rows as a format's reader finds them, of any number; both frames sorted by row."""

    frame: pl.DataFrame
    broken: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height + self.broken.height


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of one file.

    Attributes:
        file: URI of that file.
        frame: the good rows: every column of the file and `__row__`, the number in the file.
        broken: the others: `file`, `row`, `reason`, `raw` (its first 2,000 characters).
        first_row: number of the batch's first row, good or broken.
        json_columns: columns that hold JSON text of what was a list or an object in the file.
    """

    file: str
    frame: pl.DataFrame
    broken: pl.DataFrame
    first_row: int
    json_columns: tuple[str, ...] = ()


def broken_frame(file: str, *, rows: Sequence[BrokenRow]) -> pl.DataFrame:
    """Broken rows as a frame of `BROKEN_SCHEMA`."""
    # 4 bytes is the longest character of UTF-8: no need to decode more than that.
    texts = [row.raw[: 4 * RAW_CHARACTERS].decode("utf-8", "replace") for row in rows]
    columns = {
        "file": [file] * len(rows),
        "row": [row.row for row in rows],
        "reason": [row.reason for row in rows],
        "raw": [text.rstrip("\r\n")[:RAW_CHARACTERS] for text in texts],
    }
    return pl.DataFrame(columns, schema=BROKEN_SCHEMA)


def rebatch(
    parts: Iterable[Part],
    *,
    file: str,
    rows_per_batch: int,
    bytes_per_batch: int | None = None,
    json_columns: tuple[str, ...] = (),
) -> Iterator[Batch]:
    """Cut parts into batches of exactly `rows_per_batch` rows, good and broken; the last is less.

    So a batch's content depends on the file alone, not on how its bytes arrived. With
    `bytes_per_batch` one that has grown so large in memory ends with the part that made it so,
    whatever its rows.
    """
    assert rows_per_batch > 0, "a batch needs rows"
    pending: list[Part] = []
    for part in parts:
        pending.append(part)
        if bytes_per_batch and sum(p.frame.estimated_size() for p in pending) > bytes_per_batch:
            pieces = _cut(_joined(pending), size=rows_per_batch)
            yield from (
                _batch(piece, file=file, json_columns=json_columns)
                for piece in pieces
                if len(piece)
            )
            pending = []
            continue
        if sum(map(len, pending)) >= rows_per_batch:
            pieces = _cut(_joined(pending), size=rows_per_batch)
            yield from (
                _batch(piece, file=file, json_columns=json_columns) for piece in pieces[:-1]
            )
            pending = pieces[-1:]
    if sum(map(len, pending)):
        yield _batch(_joined(pending), file=file, json_columns=json_columns)


def rows_with_text(batch: Batch, *, text_column: str) -> Batch:
    """The batch with rows whose text is missing, blank or not a text moved to the broken ones.

    Texts that are kept as categories are texts from here on.
    """
    if batch.frame.schema[text_column] in (pl.Categorical, pl.Enum):
        frame = batch.frame.with_columns(pl.col(text_column).cast(pl.String))
        batch = replace(batch, frame=frame)
    dtype, text = batch.frame.schema[text_column], pl.col(text_column)
    if text_column in batch.json_columns:
        unfit, blank = pl.lit("is a list or an object"), pl.lit(False)
    elif dtype == pl.String:
        unfit, blank = pl.lit(None), text.str.strip_chars() == ""
    else:
        unfit, blank = pl.lit(f"is {dtype}"), pl.lit(False)
    trouble = (
        pl.when(text.is_null())
        .then(pl.lit("is missing or null"))
        .when(blank)
        .then(pl.lit("is blank"))
        .otherwise(unfit)
    )
    reason = pl.format(f"field '{text_column}' {{}}, expected a text", trouble)
    return set_aside(batch, reasons=batch.frame.select(reason).to_series())


def set_aside(batch: Batch, *, reasons: pl.Series) -> Batch:
    """The batch with the rows that have a reason, one or null a row, moved to the broken ones."""
    if not reasons.is_not_null().any():
        return batch
    marked = batch.frame.with_columns(reasons.alias(TROUBLE))
    bad = marked.filter(pl.col(TROUBLE).is_not_null())
    good = marked.filter(pl.col(TROUBLE).is_null()).drop(TROUBLE)
    rows = [
        BrokenRow(row.pop(ROW), row.pop(TROUBLE), _raw(row)) for row in bad.iter_rows(named=True)
    ]
    broken = pl.concat([batch.broken, broken_frame(batch.file, rows=rows)]).sort("row")
    return replace(batch, frame=good, broken=broken)


def _raw(row: dict[str, object]) -> bytes:
    return json.dumps(row, ensure_ascii=False, default=str).encode()


def _joined(parts: Sequence[Part]) -> Part:
    return Part(
        frame=pl.concat([part.frame for part in parts]),
        broken=pl.concat([part.broken for part in parts]),
    )


def _cut(part: Part, *, size: int) -> list[Part]:
    """Pieces of `size` rows each, and at the end what is left, maybe nothing."""
    numbers = pl.concat([part.frame[ROW], part.broken["row"]]).sort()
    last_rows = numbers.gather_every(size, offset=size - 1)
    good = [0, *part.frame[ROW].search_sorted(last_rows, side="right"), part.frame.height]
    bad = [0, *part.broken["row"].search_sorted(last_rows, side="right"), part.broken.height]
    return [
        Part(part.frame[good[i] : good[i + 1]], part.broken[bad[i] : bad[i + 1]])
        for i in range(len(good) - 1)
    ]


def _batch(part: Part, *, file: str, json_columns: tuple[str, ...]) -> Batch:
    firsts = [
        frame[0, column]
        for frame, column in ((part.frame, ROW), (part.broken, "row"))
        if frame.height
    ]
    return Batch(file, part.frame, part.broken, min(firsts), json_columns)

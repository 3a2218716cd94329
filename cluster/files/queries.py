"""Where a row of a query file says what is asked: a text, a chat, or an OpenAI batch request."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from cluster.errors import InputError
from cluster.files import openai_batch
from cluster.files.batch import CHARACTERS, MESSAGES, TEXT, Batch, rows_with_text, set_aside
from cluster.files.repeated import Seen
from cluster.files.schema import FileSchema, as_text, require_column
from cluster.files.source import SourceFile
from cluster.messages import asked_by

Kind = Literal["text", "messages", "openai_batch"]
FLAGS: Mapping[Kind, str] = {
    "text": "--text-column",
    "messages": "--messages-column",
    "openai_batch": "--input-format",
}


class QueryColumn(BaseModel):
    """How the queries of files are found.

    Attributes:
        kind: a column of texts, a column of chats whose last user turn is the query, or the
            requests of OpenAI batch files, whose last user turn it is.
        column: of the texts or chats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "text"
    column: str = "text"

    @property
    def text(self) -> str:
        """The column that holds the query's text once `with_queries` has passed."""
        return self.column if self.kind == "text" else TEXT

    @property
    def strict_text(self) -> tuple[str, ...]:
        """Columns of JSON Lines in which a value that is no text breaks its row."""
        if self.kind == "openai_batch":
            return (openai_batch.CUSTOM_ID,)
        return (self.column,) if self.kind == "text" else ()

    def check(self, schema: FileSchema) -> FileSchema:
        """The file's schema as it is to be read.

        Raises:
            InputError: the column is not there, or it is no OpenAI batch file.
        """
        if self.kind == "openai_batch":
            return openai_batch.required(schema)
        require_column(schema, column=self.column, flag=FLAGS[self.kind])
        if self.kind == "messages" and self.column in schema.mixed:
            # One row that holds no list must not make texts of all the others' chats.
            return replace(schema, json_columns=(*schema.json_columns, self.column))
        return schema


def with_queries(batch: Batch, *, queries: QueryColumn) -> Batch:
    """The batch with `queries.text`, and for chats `MESSAGES` (JSON; null for a text alone) and
    `CHARACTERS` of the whole chat.

    Rows without a query are moved to the broken ones, with the reason.
    """
    if queries.kind == "text":
        return rows_with_text(batch, text_column=queries.column)
    if queries.kind == "openai_batch":
        return _added(batch, openai_batch.asked_in(batch.frame))
    dtype = batch.frame.schema[queries.column]
    found = asked_by(batch.frame.select(as_text(queries.column, dtype=dtype)).to_series())
    words = pl.format(
        f"field '{queries.column}' {{}}, expected a list of messages, objects with a text 'role' "
        "and a 'content', the last of role 'user' with a text",
        "trouble",
    )
    return _added(batch, found.with_columns(trouble=words))


def without_repeats(batch: Batch, *, queries: QueryColumn, seen: Seen) -> Batch:
    """The batch with requests whose `custom_id` came before, in any file, moved to the broken."""
    if queries.kind != "openai_batch":
        return batch
    name = openai_batch.CUSTOM_ID
    given = batch.frame[name]
    again = ~seen.first(given) & given.is_not_null()
    words = f"field '{name}' stands in an earlier row already, expected another in every row"
    reasons = pl.select(pl.when(again).then(pl.lit(words))).to_series()
    return set_aside(batch, reasons=reasons)


def recognised(source: SourceFile) -> bool:
    """Whether a file is an OpenAI batch file beyond doubt, by its first lines.

    Raises:
        InputError: the file cannot be read.
    """
    return source.format == "jsonl" and openai_batch.is_batch(source)


def refuse_mixture(kinds: Mapping[str, bool]) -> bool:
    """Whether all files (uri → is an OpenAI batch file) are of that kind.

    Raises:
        InputError: some are and some are not.
    """
    if len(set(kinds.values())) > 1:
        batch = next(uri for uri, is_batch in kinds.items() if is_batch)
        other = next(uri for uri, is_batch in kinds.items() if not is_batch)
        raise InputError(
            f"{batch} is an OpenAI batch file and {other} is not; route them one after the other"
        )
    return any(kinds.values())


def _added(batch: Batch, found: pl.DataFrame) -> Batch:
    """The batch with what chats ask for; those in trouble moved to the broken ones."""
    names = {"text": TEXT, "messages": MESSAGES, "characters": CHARACTERS}
    columns = found.select(*names).rename(names)
    # Set aside first, so that a broken row is kept as it stands in the file.
    kept = set_aside(batch, reasons=found["trouble"])
    good = columns.filter(found["trouble"].is_null())
    return replace(kept, frame=pl.concat([kept.frame, good], how="horizontal"))

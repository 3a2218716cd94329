"""The columns of a file, and the check that one of them is there."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from cluster.errors import InputError
from cluster.files.batch import CHAT_COLUMNS, ROW


@dataclass(frozen=True)
class FileSchema:
    """What the columns of a file hold, the same for every batch of it.

    Attributes:
        file: the file's URI.
        dtypes: column → polars type, in the file's order.
        json_columns: columns of type String that hold the JSON text of lists and objects.
        mixed: columns of type String that hold such JSON in some rows and other values in others.
    """

    file: str
    dtypes: pl.Schema
    json_columns: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (ROW, *CHAT_COLUMNS):
            if name in self.dtypes:
                raise InputError(f"{self.file}: the column name '{name}' is reserved; rename it")

    def with_text(self, columns: Collection[str]) -> "FileSchema":
        """The same with some columns turned into text; names that are not there are ignored."""
        dtypes = {
            name: pl.String() if name in columns else dtype for name, dtype in self.dtypes.items()
        }
        return FileSchema(self.file, pl.Schema(dtypes), self.json_columns, self.mixed)


def require_column(schema: FileSchema, *, column: str, flag: str) -> None:
    """Make sure a column a flag names is in the file.

    Raises:
        InputError: it is not; names the file, the columns there are and the nearest one.
    """
    if column in schema.dtypes:
        return
    folded = {name.casefold(): name for name in schema.dtypes}
    near = difflib.get_close_matches(column.casefold(), folded, n=1)
    hint = f"; did you mean '{folded[near[0]]}'?" if near else "."
    there = ", ".join(schema.dtypes) or "none"
    raise InputError(
        f"{schema.file}: no column '{column}' ({flag}){hint} Columns: {there}. "
        f"Name one of them with {flag}"
    )


def as_text(column: str, *, dtype: pl.DataType) -> pl.Expr:
    """A column of any type as text: lists and objects as JSON, everything else as polars prints."""
    if dtype == pl.String:
        return pl.col(column)
    if not dtype.is_nested():
        return pl.col(column).cast(pl.String)
    wrapped = pl.struct(pl.col(column).alias("v")).struct.json_encode()
    text = wrapped.str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(pl.col(column).is_not_null()).then(text).alias(column)

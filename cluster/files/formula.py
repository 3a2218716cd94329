"""Cells of CSV that a spreadsheet would run: written so that it does not, read as they were.

A query or an answer may begin like a formula (`=HYPERLINK(…)`, `-2+3+cmd|' /C calc'!A0`), and
whoever opens the file runs it. Such a cell gets an apostrophe in front, which a spreadsheet takes
for "this is text"; the reader takes one off again, so a file that is read back says what was
written. `-5`, `+1` and lists of lines that begin with `- ` stay as they are.
"""

import polars as pl

# An apostrophe before it is one of an earlier writing, or the text's own.
_BEGINS_LIKE_ONE = r"[\t\r\n ]*(?:=|[+\-@](?s:.*)[(|!])"
WRITTEN = f"^'*{_BEGINS_LIKE_ONE}"
READ = f"^'+{_BEGINS_LIKE_ONE}"


def harmless(text: pl.Expr) -> pl.Expr:
    """Texts as cells that no spreadsheet runs."""
    return pl.when(text.str.contains(WRITTEN)).then(pl.lit("'") + text).otherwise(text)


def as_written(cell: pl.Expr) -> pl.Expr:
    """The texts that `harmless` made the cells of."""
    return pl.when(cell.str.contains(READ)).then(cell.str.slice(1)).otherwise(cell)

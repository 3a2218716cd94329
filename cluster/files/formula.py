"""Cells of CSV that a spreadsheet would run: written so that it does not, read as they were.

A query, an answer or the name of a column may begin like a formula (`=HYPERLINK(…)`,
`-2+3+cmd|' /C calc'!A0`), and whoever opens the file runs it. Such a cell gets a mark in front, an
apostrophe and a word joiner (U+2060, which nobody sees), and a spreadsheet takes it for text. `-5`,
`+1` and lists of lines that begin with `- ` stay as they are.

The reader takes the mark off again, so a file that is read back says what was written. An
apostrophe alone would not do: in another's file `'=x` is a text like any other, with the identity
it has in JSON Lines, and to tell it from ours takes a mark that others do not write. The mark is in
the cell and not at the head of the file, because there it would not survive a file being cut, put
together with another, or saved by a spreadsheet. Saved in an encoding that lacks it, it is lost
like every letter the encoding lacks.
"""

import polars as pl

MARK = "'\u2060"
# What is not seen, blanks of every kind and control characters, may be skipped by a spreadsheet;
# some take the full-width signs of East Asian keyboards for the others.
_BEGINS_LIKE_ONE = r"[\s\p{C}]*(?:[=＝]|[+\-@＋－＠](?s:.*)[(|!（｜！])"
# A mark before it is one of an earlier writing, or the text's own.
WRITTEN = f"^(?:{MARK})*{_BEGINS_LIKE_ONE}"
READ = f"^(?:{MARK})+{_BEGINS_LIKE_ONE}"


def harmless(text: pl.Expr) -> pl.Expr:
    """Texts as cells that no spreadsheet runs."""
    return pl.when(text.str.contains(WRITTEN)).then(pl.lit(MARK) + text).otherwise(text)


def as_written(cell: pl.Expr) -> pl.Expr:
    """The texts that `harmless` made the cells of."""
    return pl.when(cell.str.contains(READ)).then(cell.str.slice(len(MARK))).otherwise(cell)


def harmless_names(names: list[str]) -> list[str]:
    """Names of columns as cells that no spreadsheet runs; different ones stay different."""
    return _each(names, harmless(pl.col("name")))


def names_as_written(cells: list[str]) -> list[str]:
    """The names that `harmless_names` made the cells of."""
    return _each(cells, as_written(pl.col("name")))


def _each(names: list[str], change: pl.Expr) -> list[str]:
    return pl.DataFrame({"name": names}, schema={"name": pl.String}).select(change)[:, 0].to_list()

"""Columns of a plain table, with the row named where a value is not what it must be."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.score_table import LARGEST_SCORE, SPLIT_WORDS, shown
from cluster.query import normalise_texts

TRUTH = {"true": "1", "false": "0"}


def label(frame: pl.DataFrame, *, column: str, default: str | None) -> pl.Series:
    """(n_rows,) a column as text, nulls and an absent column as the default."""
    if column not in frame.columns:
        return pl.repeat(default, frame.height, dtype=pl.String, eager=True)
    values = frame[column].cast(pl.String)
    return values if default is None else values.fill_null(default)


def require_columns(frame: pl.DataFrame, *, names: Sequence[str], file: Path) -> None:
    """Make sure that a file has the columns of its format.

    Raises:
        InputError: one is missing; the text lists those there are.
    """
    for name in names:
        if name not in frame.columns:
            raise InputError(
                f"{file}: no column '{name}'; expected {', '.join(names)}, found "
                f"{', '.join(frame.columns[:20])}"
            )


def refuse_nested(frame: pl.DataFrame, *, names: Sequence[str], file: Path) -> None:
    """Make sure that of some columns, those there are hold no lists or objects.

    Raises:
        InputError: one does.
    """
    for name in names:
        if name in frame.columns and frame[name].dtype.is_nested():
            raise InputError(
                f"{file}, field '{name}': expected text or a number, found {frame[name].dtype}"
            )


def texts_of(values: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) normalised texts.

    Raises:
        InputError: the column is no text, or a row has none.
    """
    refuse_nested(values.to_frame(), names=[values.name], file=file)
    # Each text once: EmbedLLM's train repeats a prompt for 112 models, 0.6 s instead of 15 s.
    said = pl.DataFrame({"said": values.cast(pl.String)})
    once = said.unique()
    once = once.with_columns(normalise_texts(once["said"]).alias("text"))
    texts = said.join(once, on="said", how="left", nulls_equal=True, maintain_order="left")["text"]
    wrong = (texts.is_null() | (texts == "")).fill_null(True).arg_true()
    if len(wrong):
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{values.name}': expected the query's text, found "
            f"{shown(values[wrong[0]])}; fill it in or take the row out"
        )
    return texts


def names_of(values: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) the candidates' names.

    Raises:
        InputError: a row has none.
    """
    names = values.cast(pl.String).str.strip_chars()
    wrong = (names.is_null() | (names == "")).fill_null(True).arg_true()
    if len(wrong):
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{values.name}': expected a candidate's name"
        )
    return names


def splits_of(frame: pl.DataFrame, *, file: Path, column: str, default: str) -> pl.Series:
    said = label(frame, column=column, default=default).str.strip_chars().str.to_lowercase()
    splits = said.replace_strict(SPLIT_WORDS, default=None, return_dtype=pl.String)
    wrong = splits.is_null().arg_true()
    if len(wrong) > 0:
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{column}': expected train, validation, "
            f"calibration or test, found {shown(frame[column][wrong[0]])}"
        )
    return splits


def numbers_of(values: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) the column as numbers; empty text is null, true and false are 1 and 0.

    Raises:
        InputError: a value is not a finite number.
    """
    if not can_hold_numbers(values):
        raise InputError(f"{file}, field '{values.name}': expected numbers, found {values.dtype}")
    numbers = lenient(values)
    there = filled(values)
    wrong = (there & ~(numbers.abs() <= LARGEST_SCORE).fill_null(False)).arg_true()
    if len(wrong) > 0:
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{values.name}': expected a finite number, "
            f"found {shown(values[wrong[0]])}; leave the cell empty where there is none"
        )
    return numbers


def lenient(values: pl.Series) -> pl.Series:
    """(n_rows,) numbers, null where there is none."""
    if values.dtype != pl.String:
        return values.cast(pl.Float64, strict=False)
    said = values.str.strip_chars().str.to_lowercase()
    return said.replace(TRUTH).cast(pl.Float64, strict=False)


def filled(values: pl.Series) -> pl.Series:
    """(n_rows,) True where the cell is not empty."""
    if values.dtype != pl.String:
        return values.is_not_null()
    return (values.str.strip_chars() != "").fill_null(False)


def can_hold_numbers(values: pl.Series) -> bool:
    return values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.String, pl.Null)

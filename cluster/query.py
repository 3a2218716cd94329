"""A query: its identity and its split, both pure functions of what it says."""

import hashlib
import json
from collections.abc import Iterable
from typing import Literal

import polars as pl

Split = Literal["train", "validation", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "calibration", "test")

VALIDATION_FROM = 0.7
CALIBRATION_FROM = 0.8
TEST_FROM = 0.9
MAX_CALIBRATION_SHARE = 0.9


def has_reference() -> pl.Expr:
    """Whether a query comes with a right answer to compare with, a blank one being none."""
    return (pl.col("reference").cast(pl.String).str.strip_chars() != "").fill_null(False)


def normalise_texts(texts: pl.Series) -> pl.Series:
    """(n_queries,) the form that is hashed and stored: NFC, LF line ends, outer blanks stripped.

    polars takes 3 ms for a run of 64,000 combining marks, Python's unicodedata 7 s: its time is
    quadratic in them.
    """
    unix = texts.cast(pl.String).str.replace_all("\r\n?", "\n")
    return unix.str.normalize("NFC").str.strip_chars()


def normalise_text(text: str) -> str:
    """The same for one text."""
    return str(normalise_texts(pl.Series([text], dtype=pl.String))[0])


def digest(parts: Iterable[str | int]) -> str:
    """sha256 in hex of a list of strings and numbers, with unambiguous borders."""
    packed = json.dumps(list(parts), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(packed.encode("utf-8", "surrogatepass")).hexdigest()


def query_id(text: str, *, task: str) -> str:
    """Identity of an ingested query; `text` is normalised already."""
    return digest([task, text])


def imported_query_id(text: str, *, dataset: str, split: str, task: str, occurrence: int) -> str:
    """Identity of an imported query.

    Published tables repeat texts with differing scores and share texts between splits, so the
    name, the split and the running number of the repetition are part of the identity.
    """
    return digest([dataset, split, task, text, occurrence])


def split_position(text: str) -> float:
    """Where a normalised text falls in [0, 1): the first 52 bits of its own hash."""
    return int(digest(["split", text])[:13], 16) / 2**52


def split_of(text: str) -> Split:
    """70 / 10 / 10 / 10 by the text's hash: arrival order never matters."""
    position = split_position(text)
    if position < VALIDATION_FROM:
        return "train"
    if position < CALIBRATION_FROM:
        return "validation"
    return "calibration" if position < TEST_FROM else "test"


def imported_split(text: str, *, split: str, calibration_share: float = 0.0) -> str:
    """Split of a row of an imported table.

    Rows of test stay test; of train, the texts whose hash says validation become validation and,
    on request, `calibration_share` of them calibration (a window of the same hash that begins
    where calibration does and never meets validation's, up to `MAX_CALIBRATION_SHARE`).
    """
    if split != "train":
        return split
    position = split_position(text)
    if VALIDATION_FROM <= position < CALIBRATION_FROM:
        return "validation"
    if (position - CALIBRATION_FROM) % 1.0 < calibration_share:
        return "calibration"
    return "train"


def with_identity(queries: pl.DataFrame) -> pl.DataFrame:
    """Add `query_id` and `split` to ingested queries that have `task` and normalised `text`."""
    ids = [query_id(text, task=task) for task, text in queries.select("task", "text").iter_rows()]
    splits = [split_of(text) for text in queries["text"]]
    return queries.with_columns(
        pl.Series("query_id", ids, dtype=pl.String), pl.Series("split", splits, dtype=pl.String)
    )

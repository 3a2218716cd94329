"""A score table: what candidates scored on queries, as measured and published by someone else.

Every importer answers with one, in the same long form; nothing here writes to the lake.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cluster.errors import InputError
from cluster.query import normalise_texts

QUERY_KEY = ["split", "task", "text", "occurrence"]
ROW_SCHEMA: dict[str, type[pl.DataType]] = {
    "split": pl.String,
    "task": pl.String,
    "text": pl.String,
    "occurrence": pl.Int64,
    "reference": pl.String,
    "candidate": pl.String,
    "scorer": pl.String,
    "value": pl.Float64,
    "weight": pl.Float64,
    "answer": pl.String,
    "prompt_tokens": pl.Float64,
    "completion_tokens": pl.Float64,
    "cost_usd": pl.Float64,
}
TAG_SCHEMA: dict[str, type[pl.DataType]] = {
    "split": pl.String,
    "task": pl.String,
    "text": pl.String,
    "occurrence": pl.Int64,
    "tag": pl.String,
    "tagger": pl.String,
}
LEFT_OUT_SCHEMA: dict[str, type[pl.DataType]] = {
    "split": pl.String,
    "task": pl.String,
    "reason": pl.String,
    "queries": pl.Int64,
}
SPLIT_WORDS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "calibration": "calibration",
}
LEADING_SPLIT = re.compile(rf"({'|'.join(SPLIT_WORDS)})(?![a-z])", re.IGNORECASE)
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
NAMED_SPLIT = re.compile(rf"(?:(.+)[-_.])?({'|'.join(SPLIT_WORDS)})", re.IGNORECASE)
LARGEST_SCORE = 1e300


@dataclass(frozen=True)
class ScoreTable:
    """Scores of candidates on queries, in long form.

    Attributes:
        rows: one row a (query, candidate, scorer) with a known score, columns `ROW_SCHEMA`.
            `text` is normalised; `occurrence` counts repetitions of (split, task, text) in file
            order from 0; `weight` is the number of samples behind `value`; tokens are means a
            sample and `cost_usd` is USD a query. Null where the table does not say.
        tags: one row a (query, tag), columns `TAG_SCHEMA`.
        left_out: queries of the files that are not in `rows`, and why, columns `LEFT_OUT_SCHEMA`.
        notes: what was decided about the files that their owner may want to know.
    """

    rows: pl.DataFrame
    tags: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TAG_SCHEMA))
    left_out: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEFT_OUT_SCHEMA))
    notes: tuple[str, ...] = ()

    @property
    def queries(self) -> pl.DataFrame:
        """(n_queries, 5): `QUERY_KEY` and `reference`, in file order."""
        return self.rows.select(*QUERY_KEY, "reference").unique(QUERY_KEY, maintain_order=True)

    @property
    def candidates(self) -> list[str]:
        """Readable names, in order of appearance."""
        return self.rows["candidate"].unique(maintain_order=True).to_list()

    def counts(self) -> pl.DataFrame:
        """Queries scored for each (task, split, candidate): those and `queries`, sorted."""
        keys = ["task", "split", "candidate"]
        cells = self.rows.select(*keys, "text", "occurrence").unique()
        return cells.group_by(keys).agg(pl.len().cast(pl.Int64).alias("queries")).sort(keys)


def table_of(
    queries: pl.DataFrame,
    cells: pl.DataFrame,
    *,
    tags: pl.DataFrame | None = None,
    left_out: pl.DataFrame | None = None,
    notes: Sequence[str] = (),
) -> ScoreTable:
    """Join queries with their scores.

    Args:
        queries: one row a query in file order: `row` (unique), `split`, `task`, `text`
            (normalised), optionally `reference`.
        cells: one row a (query, candidate, scorer): `row`, `candidate`, `scorer`, `value`,
            `weight` and any other column of `ROW_SCHEMA`. Null values are left out.
        tags: `row`, `tag`, `tagger`. Null tags are left out.
        left_out: queries the importer took out itself.
        notes: passed on.
    """
    numbered = with_occurrence(queries, keys=["split", "task", "text"])
    known = cells.filter(pl.col("value").is_not_null())
    rows = numbered.join(known, on="row", how="inner", maintain_order="left_right")
    unscored = count_left_out(
        numbered.join(known, on="row", how="anti"), reason="no candidate has a score"
    )
    frames = [frame for frame in (left_out, unscored) if frame is not None]
    return ScoreTable(
        rows=conform(rows, schema=ROW_SCHEMA),
        tags=_tags_of(numbered, tags=tags),
        left_out=pl.concat(frames).filter(pl.col("queries") > 0),
        notes=tuple(notes),
    )


def with_occurrence(frame: pl.DataFrame, *, keys: Sequence[str]) -> pl.DataFrame:
    """Add the 0-based running number of each repetition of `keys`, in the frame's order."""
    return frame.with_columns(pl.int_range(pl.len()).over(keys).alias("occurrence"))


def conform(frame: pl.DataFrame, *, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """The schema's columns in its order and types; those the frame lacks are null."""
    present = set(frame.columns)
    return frame.select(
        (pl.col(name) if name in present else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def count_left_out(queries: pl.DataFrame, *, reason: str) -> pl.DataFrame:
    """`LEFT_OUT_SCHEMA` rows for queries (with `split` and `task`) that are not taken."""
    counted = queries.group_by("split", "task", maintain_order=True).agg(queries=pl.len())
    return conform(counted.with_columns(reason=pl.lit(reason)), schema=LEFT_OUT_SCHEMA)


def _tags_of(queries: pl.DataFrame, *, tags: pl.DataFrame | None) -> pl.DataFrame:
    if tags is None:
        return pl.DataFrame(schema=TAG_SCHEMA)
    known = tags.filter(pl.col("tag").is_not_null())
    joined = queries.join(known, on="row", how="inner", maintain_order="left")
    return conform(joined, schema=TAG_SCHEMA)


def named_task_and_split(stem: str) -> tuple[str, str]:
    """Task and split out of a file's name without its endings.

    `arc_challenge_test` → (`arc_challenge`, `test`), `gsm8k-train` → (`gsm8k`, `train`),
    `train` → (``, `train`), `mbpp` → (`mbpp`, `test`): a file without a split is test.
    Names mix `-` and `_`, so the task has only `_`.
    """
    match = NAMED_SPLIT.fullmatch(stem)
    if match is None:
        return stem.replace("-", "_"), "test"
    return (match[1] or "").replace("-", "_"), SPLIT_WORDS[match[2].lower()]


def leading_split(word: str) -> str:
    """The split a name begins with, else test: `train-00000-of-00003` is train, `hybrid` test."""
    match = LEADING_SPLIT.match(word)
    return SPLIT_WORDS[match[1].lower()] if match else "test"


def checked_texts(texts: Sequence[object], *, where: str, name: str) -> list[str]:
    """(n_queries,) normalised texts.

    Raises:
        InputError: a row has no text.
    """
    given = [text if _is_text(text) else "" for text in texts]
    normalised: list[str] = normalise_texts(pl.Series(given, dtype=pl.String)).to_list()
    bad = next((row for row, text in enumerate(normalised, start=1) if not text), None)
    if bad is not None:
        raise InputError(
            f"{where}, row {bad}, field '{name}': expected the query's text, "
            f"found {shown(texts[bad - 1])}; fill it in or take the row out"
        )
    return normalised


def _is_text(value: object) -> bool:
    """Whether it is a string that can be written: JSON may hold one half of a surrogate pair."""
    return isinstance(value, str) and not LONE_SURROGATE.search(value)


def is_score(value: object) -> bool:
    """Whether it is a finite number; True and False count as 1 and 0."""
    return isinstance(value, int | float) and -LARGEST_SCORE <= value <= LARGEST_SCORE


def shown(value: object) -> str:
    """A value as an error message can bear it: at most 60 characters."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse_twin_columns(table: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """The CSV table, whose columns must have different names (polars renames the second one).

    Raises:
        InputError: two columns have one name.
    """
    for name in table.columns:
        first, mark, number = name.rpartition("_duplicated_")
        if mark and number.isdigit() and first in table.columns:
            raise InputError(f"{where}: two columns are called '{first}'; rename one of them")
    return table


def existing(path: str) -> Path:
    """The path, which must be there.

    Raises:
        InputError: it is not.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise InputError(f"{path}: no such file or folder; check --path")
    return found


def read_text(path: Path) -> str:
    """A UTF-8 file's text, a byte order mark left out.

    Raises:
        InputError: it cannot be read, or holds bytes that are not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def json_lines(lines: Sequence[str] | Iterator[str], *, where: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file, blank lines left out.

    Raises:
        InputError: a line is not a JSON object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, parse_constant=refuse_constant)
        except ValueError as error:
            raise InputError(
                f"{where}, line {number}: broken JSON ({error}); mend or remove the line"
            ) from error
        if not isinstance(entry, dict):
            raise InputError(
                f"{where}, line {number}: expected a JSON object, found {shown(entry)}"
            )
        yield entry


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number, use null where there is none")

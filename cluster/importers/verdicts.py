"""Users' verdicts, as a table with a row an answer; a routed file with one more column is one.

The query: `query_id`, or its text (`text`, or the column named). The candidate: `candidate`, as
routing writes it, with `router` and `choice_probability` beside it where they are there (names that
`route --prefix` changed must be changed back). The verdict, in one or several of these columns,
empty where nobody said anything:

- `thumb`: up or down, 1 or 0, true or false;
- `score`: a number from 0 to 1;
- `edit`: how much of the answer a user had to change, from 0 (nothing) to 1;
- `edited` beside `answer`: the text that a user made of it, from which that is computed;
- `ticket`: anything at all is a complaint.
"""

import difflib
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.files.batch import BROKEN_SCHEMA
from cluster.importers.score_table import shown
from cluster.importers.table import TEXT_COLUMNS
from cluster.importers.table_fields import label, lenient
from cluster.importers.table_files import find_tables, load_fields
from cluster.importers.verdict_table import VERDICT_SCHEMA, VerdictTable
from cluster.query import normalise_texts

THUMBS = {
    **dict.fromkeys(("up", "1", "1.0", "+1", "true", "yes", "good", "👍"), 1.0),
    **dict.fromkeys(("down", "0", "0.0", "-1", "false", "no", "bad", "👎"), 0.0),
}
EXPECTED = {
    "thumb": "up or down, 1 or 0",
    "score": "a number from 0 (bad) to 1 (good)",
    "edit": "a number from 0 (nothing was changed) to 1 (everything)",
    "edited": "the text a user made of it, beside the column 'answer'",
    "ticket": "anything",
}
KEYS = ("query_id", "candidate", "router", "choice_probability", "answer")
RAW_CHARACTERS = 2000


def read(path: str, *, text_column: str | None = None) -> VerdictTable:
    """Read a file, the files of a folder, or a glob: Parquet, CSV or JSON Lines.

    Args:
        path: what to read.
        text_column: the column of the query's text; None takes the first there is of text,
            question, prompt and query.

    Raises:
        InputError: no such file, an unknown format, or a column is missing.
    """
    texts = TEXT_COLUMNS if text_column is None else (text_column,)
    parts = [_part(file, texts=texts) for file in find_tables(path, json_lists=True)]
    return VerdictTable(
        rows=pl.concat([part.rows for part in parts]),
        broken=pl.concat([part.broken for part in parts]),
        silent=sum(part.silent for part in parts),
    )


def _part(file: Path, *, texts: tuple[str, ...]) -> VerdictTable:
    """The verdicts of one file."""
    names = (*texts, *KEYS, *EXPECTED)
    frame = load_fields(file, names=names, lists=())
    kinds = _require_columns(frame, texts=texts, file=file)
    text = next((name for name in texts if name in frame.columns), "")
    normal = normalise_texts(label(frame, column=text, default=None))
    told = pl.DataFrame(
        {
            "file": pl.repeat(str(file), frame.height, dtype=pl.String, eager=True),
            "row": pl.int_range(1, frame.height + 1, eager=True),
            "query_id": _named(frame, column="query_id"),
            "text": normal.replace("", None),
            "candidate": _named(frame, column="candidate"),
            "router": _named(frame, column="router"),
            "choice_probability": lenient(label(frame, column="choice_probability", default=None)),
        }
    )
    parts = [_of_kind(told, said=_said(frame, kind=kind), kind=kind, file=file) for kind in kinds]
    rows = pl.concat([good for good, _ in parts])
    broken = pl.concat([bad for _, bad in parts]).sort("row")
    heard = pl.concat([rows["row"], broken["row"]]).n_unique()
    return VerdictTable(rows.sort("row"), broken, frame.height - heard)


def _require_columns(frame: pl.DataFrame, *, texts: tuple[str, ...], file: Path) -> list[str]:
    """The columns with verdicts.

    Raises:
        InputError: there is none, or nothing says which query or candidate it is about.
    """
    kinds = [name for name in EXPECTED if name in frame.columns]
    if not kinds:
        raise InputError(f"{file}: no column with a verdict; expected {', '.join(EXPECTED)}")
    if "candidate" not in frame.columns:
        raise InputError(
            f"{file}: no column 'candidate' with the name of whoever answered; rename the one that "
            "has it, such as a routed file's with a prefix"
        )
    if not any(name in frame.columns for name in ("query_id", *texts)):
        raise InputError(
            f"{file}: no column 'query_id' or {' or '.join(map(repr, texts))} that says which "
            "query it is about; name the text's with --text-column"
        )
    if "edited" in kinds and "answer" not in frame.columns:
        raise InputError(
            f"{file}: a column 'edited' needs the answer it was made of beside it, as 'answer'"
        )
    return kinds


def _named(frame: pl.DataFrame, *, column: str) -> pl.Series:
    return label(frame, column=column, default=None).str.strip_chars().replace("", None)


def _said(frame: pl.DataFrame, *, kind: str) -> pl.DataFrame:
    """`said`, null for nothing, and `value`, null for what is no verdict."""
    said = label(frame, column=kind, default=None)
    said = said.set(said.str.strip_chars() == "", None)
    if kind == "thumb":
        word = said.str.strip_chars().str.to_lowercase()
        value = word.replace_strict(THUMBS, default=None, return_dtype=pl.Float64)
    elif kind == "ticket":
        value = said.is_not_null().cast(pl.Float64) * 0.0
    elif kind == "edited":
        value = _kept(label(frame, column="answer", default=None), edited=said)
    else:
        number = lenient(said)
        inside = number.set(~number.is_between(0, 1).fill_null(False), None)
        value = 1.0 - inside if kind == "edit" else inside
    return pl.DataFrame({"said": said, "value": value}, schema_overrides={"value": pl.Float64})


def _kept(answers: pl.Series, *, edited: pl.Series) -> pl.Series:
    """(n_rows,) how much of an answer was left as it was: 1 − the distance of the edit.

    By words: of two texts the words in matching runs, over all words of both (Ratcliff and
    Obershelp); 1 for the same text and 0 for another one.
    """
    shares = [
        None if answer is None or said is None else _alike(answer.split(), said.split())
        for answer, said in zip(answers, edited, strict=True)
    ]
    return pl.Series(shares, dtype=pl.Float64)


def _alike(first: list[str], second: list[str]) -> float:
    return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()


def _of_kind(
    told: pl.DataFrame, *, said: pl.DataFrame, kind: str, file: Path
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The verdicts of one column, and the rows where something is wrong, with the reason."""
    rows = told.hstack(said).with_columns(kind=pl.lit(kind)).filter(pl.col("said").is_not_null())
    reason = (
        pl.when(pl.col("candidate").is_null())
        .then(pl.lit("field 'candidate' is empty, expected the name of whoever answered"))
        .when(pl.col("query_id").is_null() & pl.col("text").is_null())
        .then(pl.lit("neither 'query_id' nor the text says which query it is about"))
        .when(pl.col("value").is_null())
        .then(pl.lit(f"field '{kind}': expected {EXPECTED[kind]}"))
    )
    judged = rows.with_columns(reason=reason)
    good = judged.filter(pl.col("reason").is_null()).select(list(VERDICT_SCHEMA))
    return good, broken_rows(judged.filter(pl.col("reason").is_not_null()), file=str(file))


def broken_rows(rows: pl.DataFrame, *, file: str = "") -> pl.DataFrame:
    """Rows with a `reason` as the quarantine takes them; `file` where they do not say it."""
    raw = [shown_row(row) for row in rows.drop("reason").iter_rows(named=True)]
    named = rows["file"] if not file else pl.repeat(file, rows.height, dtype=pl.String, eager=True)
    return pl.DataFrame(
        {"file": named, "row": rows["row"], "reason": rows["reason"], "raw": raw},
        schema=BROKEN_SCHEMA,
    )


def shown_row(row: dict[str, object]) -> str:
    """What a row says, short enough for a quarantine file."""
    told = {
        name: value
        for name, value in row.items()
        if value is not None and name not in ("file", "row")
    }
    return ", ".join(f"{name}={shown(value)}" for name, value in told.items())[:RAW_CHARACTERS]

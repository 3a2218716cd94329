"""Preference battles: two candidates on one query, and which of them a judge preferred.

Three published shapes, and whatever has their columns:

- LMSYS' 33k conversations and the arena's 100k and 140k: `model_a`, `model_b`, `winner`,
  `conversation_a`, often `judge`;
- the arena's 55k: `model_a`, `model_b`, `prompt` (JSON list of the user's turns), `winner_model_a`,
  `winner_model_b`, `winner_tie`;
- a plain table: `text` (or `question`, `prompt`, `query`), `model_a`, `model_b`, and `outcome` from
  0 to 1 (1 where a is preferred) or `winner`; optionally `task`, `judge`, `split`.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.battle_table import TIE, BattleTable, battles_of
from cluster.importers.conversation import first_turn
from cluster.importers.score_table import (
    NAMED_SPLIT,
    checked_texts,
    count_left_out,
    named_task_and_split,
    shown,
)
from cluster.importers.table import TEXT_COLUMNS
from cluster.importers.table_fields import filled, label, numbers_of, splits_of
from cluster.importers.table_files import find_tables, load_fields, stem_of
from cluster.query import normalise_texts

SIDES = {"candidate_a": "model_a", "candidate_b": "model_b"}
CONVERSATION = "conversation_a"
# Text of these may be JSON: a list of turns.
SPOKEN = (CONVERSATION, "prompt")
FLAGS = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": TIE}
# Published words of `winner`, in lower case; beside them a candidate's own name will do.
WINNERS = {
    "model_a": 1.0,
    "model_b": 0.0,
    **dict.fromkeys(("tie", "tie (bothbad)", "tie (inconsistent)", "both_bad", "bothbad"), TIE),
}
# A system prompt or two may go before the user's first turn; what follows is long and not read.
LEADING_TURNS = 4
FIELDS = ("winner", "outcome", "task", "judge", "split")
TASK = "battles"
HUMAN = "human"
# The arena's files name every voter; what is learned is what people prefer, not one of them.
VOTER = r"^arena_user_.*$"


def read(path: str, *, text_column: str | None = None) -> BattleTable:
    """Read a file, the files of a folder (or of `data` in it), or a glob.

    The text is the first turn of the user. A tie, of two good or of two bad answers, is 1/2.
    Without a column `judge`, or where it names one of the arena's voters, the judge is `human`;
    without `task` the task is `battles`. The split is what the column or the file's name says
    (`votes_test.csv`); a file that says none is train, since battles are there to be learned from.
    Rows without an outcome, and conversations that begin without text, are left out and counted.

    Args:
        path: what to read.
        text_column: the column of the query's text; None takes the conversation, or the first
            there is of text, question, prompt and query.

    Raises:
        InputError: no such file, an unknown format, a missing column, a plain row without text, a
            candidate against itself or without a name, an outcome that is none, or an unknown
            split.
    """
    parts = [_part(file, text_column=text_column) for file in _files(path)]
    rows, silent = (pl.concat(frames) for frames in zip(*parts, strict=True))
    unknown = pl.col("outcome").is_null()
    left_out = [
        count_left_out(silent, reason="no text in the first turn"),
        count_left_out(rows.filter(unknown), reason="no outcome"),
    ]
    table = battles_of(rows.filter(~unknown), left_out=pl.concat(left_out))
    if table.rows.is_empty():
        raise InputError(f"{path}: no row has both a text and an outcome; there is no battle in it")
    return table


def _files(path: str) -> list[Path]:
    """The files a path stands for; of a clone of a published data set those in `data`."""
    inner = Path(path).expanduser() / "data"
    try:
        return find_tables(path, json_lists=True)
    except InputError:
        if not inner.is_dir():
            raise
        return find_tables(str(inner), json_lists=True)


def _part(file: Path, *, text_column: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The battles of a file, and those of its rows that begin without text."""
    texts = (CONVERSATION, *TEXT_COLUMNS) if text_column is None else (text_column,)
    names = (*texts, *SIDES.values(), *FIELDS, *FLAGS)
    frame = load_fields(file, names=names, lists=(*SPOKEN, *texts[:1]))
    text = _text_column(frame, file=file, among=texts)
    sides = {side: _names(frame, column=name, file=file) for side, name in SIDES.items()}
    rows = pl.DataFrame(
        {
            "text": _texts(frame[text], file=file),
            **sides,
            "outcome": _outcomes(frame, sides=sides, file=file),
            "task": label(frame, column="task", default=TASK),
            "split": splits_of(frame, file=file, column="split", default=_named_split(file)),
            "judge": _judges(frame),
        }
    )
    _refuse_self(rows, file=file)
    silent = pl.col("text") == ""
    return rows.filter(~silent), rows.filter(silent)


def _named_split(file: Path) -> str:
    """What the file's name says, and train where it says nothing."""
    stem = stem_of(file)
    return named_task_and_split(stem)[1] if NAMED_SPLIT.fullmatch(stem) else "train"


def _text_column(frame: pl.DataFrame, *, file: Path, among: Sequence[str]) -> str:
    found = next((name for name in among if name in frame.columns), None)
    if found is None:
        wanted = " or ".join(f"'{name}'" for name in among)
        raise InputError(
            f"{file}: no column {wanted} with the query's text; name it with --text-column"
        )
    return found


def _texts(said: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) normalised; empty where a conversation begins without text.

    Raises:
        InputError: a plain text is missing.
    """
    if said.name not in SPOKEN and not said.dtype.is_nested():
        checked = checked_texts(said.cast(pl.String).to_list(), where=str(file), name=said.name)
        return pl.Series(checked, dtype=pl.String)
    turns = said.list.head(LEADING_TURNS) if said.dtype == pl.List else said
    return normalise_texts(pl.Series(map(first_turn, turns.to_list()), dtype=pl.String))


def _names(frame: pl.DataFrame, *, column: str, file: Path) -> pl.Series:
    """(n_rows,) the names of one side's candidates.

    Raises:
        InputError: there is no such column, or a row has no name.
    """
    _require(frame, column=column, file=file)
    names = frame[column].cast(pl.String).str.strip_chars().fill_null("")
    wrong = (names == "").arg_true()
    if len(wrong):
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{column}': expected a candidate's name, found "
            f"{shown(frame[column][wrong[0]])}; fill it in or take the row out"
        )
    return names


def _require(frame: pl.DataFrame, *, column: str, file: Path) -> None:
    if column not in frame.columns:
        raise InputError(
            f"{file}: no column '{column}'; expected model_a, model_b and winner, or outcome from "
            "0 to 1; rename the file's own"
        )


def _refuse_self(rows: pl.DataFrame, *, file: Path) -> None:
    same = (rows["candidate_a"] == rows["candidate_b"]).arg_true()
    if len(same):
        raise InputError(
            f"{file}, row {same[0] + 1}, fields 'model_a' and 'model_b': both are "
            f"{shown(rows['candidate_a'][same[0]])}, expected two candidates; take the row out"
        )


def _judges(frame: pl.DataFrame) -> pl.Series:
    said = label(frame, column="judge", default=HUMAN).str.strip_chars()
    return said.str.replace(VOTER, HUMAN).replace("", HUMAN)


def _outcomes(frame: pl.DataFrame, *, sides: dict[str, pl.Series], file: Path) -> pl.Series:
    """(n_rows,) how far a is preferred, 0 to 1; null where the file does not say.

    Raises:
        InputError: no column says it, or a value is none of those it can be.
    """
    if "outcome" in frame.columns:
        return _shares(frame["outcome"], file=file)
    if "winner" not in frame.columns and {"winner_model_a", "winner_model_b"} <= set(frame.columns):
        return _flagged(frame, file=file)
    _require(frame, column="winner", file=file)
    return _won(frame["winner"], sides=sides, file=file)


def _shares(said: pl.Series, *, file: Path) -> pl.Series:
    shares = numbers_of(said, file=file)
    wrong = (~shares.is_between(0, 1)).fill_null(False).arg_true()
    if len(wrong):
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field 'outcome': expected a number from 0 (b is "
            f"preferred) to 1 (a is), 0.5 for a tie, found {shown(said[wrong[0]])}; correct it or "
            "take the row out"
        )
    return shares


def _won(winner: pl.Series, *, sides: dict[str, pl.Series], file: Path) -> pl.Series:
    """Outcomes out of `winner`: `model_a`, `model_b`, a kind of tie, or a candidate's name."""
    said = winner.cast(pl.String).str.strip_chars()
    word = pl.col("said").str.to_lowercase()
    found = pl.DataFrame(sides | {"said": said}).select(
        pl.when(pl.col("said") == pl.col("candidate_a"))
        .then(1.0)
        .when(pl.col("said") == pl.col("candidate_b"))
        .then(0.0)
        .otherwise(word.replace_strict(WINNERS, default=None, return_dtype=pl.Float64))
    )[:, 0]
    wrong = (filled(said) & found.is_null()).arg_true()
    if len(wrong):
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field 'winner': expected model_a, model_b, tie, 'tie "
            f"(bothbad)' or the name of one of the two, found {shown(winner[wrong[0]])}; correct "
            "it or take the row out"
        )
    return found


def _flagged(frame: pl.DataFrame, *, file: Path) -> pl.Series:
    """Outcomes out of `winner_model_a`, `winner_model_b` and `winner_tie`, one of which is 1."""
    there = [name for name in FLAGS if name in frame.columns]
    flags = pl.DataFrame([numbers_of(frame[name], file=file).alias(name) for name in there])
    ones, empty = flags.sum_horizontal(), flags.select(pl.all_horizontal(pl.all().is_null()))
    is_flag = flags.select(pl.all_horizontal(pl.all().is_in([0.0, 1.0]))).to_series()
    wrong = (~empty.to_series() & (~is_flag.fill_null(False) | (ones != 1))).arg_true()
    if len(wrong):
        found = ", ".join(shown(frame[name][wrong[0]]) for name in there)
        raise InputError(
            f"{file}, row {wrong[0] + 1}, fields {', '.join(map(repr, there))}: expected 1 in one "
            f"of them and 0 in the others, found {found}; correct the row or take it out"
        )
    won = pl.sum_horizontal(pl.col(name) * FLAGS[name] for name in there)
    return flags.select(pl.when(~pl.all_horizontal(pl.all().is_null())).then(won))[:, 0]

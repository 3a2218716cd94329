"""RouterBench's tables (arXiv 2403.12031), out of the pickles they are published as.

`routerbench_0shot.pkl` and `routerbench_5shot.pkl` are wide: `sample_id`, `prompt`, `eval_name`, a
column of scores for each model, `<model>|model_response`, `<model>|total_cost` (USD) and
`oracle_model_to_route_to`. `routerbench_raw.pkl` is the 5-shot one with a row a model: `sample_id`,
`prompt`, `eval_name`, `model_name`, `performance`, `model_response`, `cost`. Both are read here as
Parquet, CSV or JSON Lines; the pickles themselves are not opened.
"""

import ast
from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.long_form import long_table
from cluster.importers.pickled import refuse_pickles
from cluster.importers.score_table import ScoreTable, leading_split
from cluster.importers.table_fields import (
    label,
    names_of,
    numbers_of,
    refuse_nested,
    require_columns,
    texts_of,
)
from cluster.importers.table_files import find_tables, load

QUERY = ("sample_id", "prompt", "eval_name")
RAW = ("model_name", "performance")
ANSWER, COST = "|model_response", "|total_cost"
BETWEEN_TURNS = "\n\n"


def read(path: str) -> ScoreTable:
    """Read one table, or all those of a folder.

    The task is `eval_name`. Prompts and answers are published as Python's notation of a list of
    turns (`['first', 'second']`); the text is the turns with a blank line between them, and a cell
    that is no such list stands as it is. RouterBench names no split, so all is test, unless the
    file's name begins with another (`train_0shot.parquet`). One scorer, `accuracy`, weight 1. An
    empty cell or NaN is a missing score.

    Raises:
        InputError: no such file, a pickle, a missing column, a row without text, or a score or
            cost that is no number.
    """
    refuse_pickles(path, form="routerbench")
    parts = []
    for number, file in enumerate(find_tables(path)):
        frame = load(file)
        require_columns(frame, names=QUERY, file=file)
        cells = _raw if set(RAW) <= set(frame.columns) else _wide
        keyed = cells(frame, file=file).with_columns(
            key=pl.format("{} {}", pl.lit(number), pl.col("key"))
        )
        parts.append(keyed)
    return long_table(pl.concat(parts, how="diagonal"))


def _queries(frame: pl.DataFrame, *, file: Path) -> pl.DataFrame:
    """`key`, `text`, `task`, `split` of every row."""
    refuse_nested(frame, names=("sample_id", "eval_name", "model_name"), file=file)
    return pl.DataFrame(
        {
            "key": label(frame, column="sample_id", default=""),
            "text": texts_of(_spoken(frame["prompt"], file=file), file=file),
            "task": label(frame, column="eval_name", default="routerbench"),
            "split": pl.repeat(leading_split(file.name), frame.height, eager=True),
        }
    )


def _wide(frame: pl.DataFrame, *, file: Path) -> pl.DataFrame:
    """One row a (query, model) of a wide table."""
    # Two rows may share a sample's name; each is a query of its own.
    place = pl.int_range(frame.height, eager=True).cast(pl.String)
    queries = _queries(frame, file=file).with_columns(key=place)
    cells = [
        queries.hstack(
            [
                _numbers(frame[model], file=file).alias("value"),
                _beside(frame, column=model + COST, file=file).alias("cost_usd"),
                _answers(frame, column=model + ANSWER, file=file).alias("answer"),
            ]
        ).with_columns(candidate=pl.lit(model))
        for model in _models(frame, file=file)
    ]
    return _scored(pl.concat(cells))


def _raw(frame: pl.DataFrame, *, file: Path) -> pl.DataFrame:
    """One row a (query, model) of a table in long form."""
    cells = _queries(frame, file=file).hstack(
        [
            names_of(frame["model_name"], file=file).alias("candidate"),
            _numbers(frame["performance"], file=file).alias("value"),
            _beside(frame, column="cost", file=file).alias("cost_usd"),
            _answers(frame, column="model_response", file=file).alias("answer"),
        ]
    )
    return _scored(cells)


def _scored(cells: pl.DataFrame) -> pl.DataFrame:
    return cells.with_columns(scorer=pl.lit("accuracy"), weight=pl.lit(1.0))


def _models(frame: pl.DataFrame, *, file: Path) -> list[str]:
    """The models of a wide table: what stands before `|`, each with a column of scores.

    Raises:
        InputError: there is none, or one has no scores.
    """
    ends = (ANSWER, COST)
    beside = [name for name in frame.columns if name.endswith(ends)]
    models = list(dict.fromkeys(name.rpartition("|")[0] for name in beside))
    if not models:
        raise InputError(
            f"{file}: no column '<model>{COST}' or '<model>{ANSWER}'; expected RouterBench's "
            f"columns, or {', '.join((*QUERY, *RAW))}; found {', '.join(frame.columns[:20])}"
        )
    for model in models:
        if model not in frame.columns:
            raise InputError(
                f"{file}: there is '{next(name for name in beside if name.startswith(model))}' and "
                f"no column '{model}' with this model's scores"
            )
    return models


def _numbers(values: pl.Series, *, file: Path) -> pl.Series:
    """Numbers, where NaN means that there is none, as pandas has it."""
    return numbers_of(values.fill_nan(None) if values.dtype.is_float() else values, file=file)


def _beside(frame: pl.DataFrame, *, column: str, file: Path) -> pl.Series:
    if column not in frame.columns:
        return pl.repeat(None, frame.height, dtype=pl.Float64, eager=True)
    return _numbers(frame[column], file=file)


def _answers(frame: pl.DataFrame, *, column: str, file: Path) -> pl.Series:
    if column not in frame.columns:
        return pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    return _spoken(frame[column], file=file)


def _spoken(values: pl.Series, *, file: Path) -> pl.Series:
    """(n_rows,) the turns of each cell with a blank line between them.

    Raises:
        InputError: the column holds something else than text and lists of text.
    """
    if values.dtype == pl.List(pl.String):
        return values.list.join(BETWEEN_TURNS)
    refuse_nested(values.to_frame(), names=[values.name], file=file)
    texts = [turns(text) for text in values.cast(pl.String)]
    return pl.Series(values.name, texts, dtype=pl.String)


def turns(text: str | None) -> str | None:
    """What stands in Python's notation of a list of texts; any other text as it is.

    `ast.literal_eval` reads literals alone and calls nothing.
    """
    if text is None or not (text.startswith("[") and text.endswith("]")):
        return text
    try:
        said = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if not said or not all(isinstance(turn, str) for turn in said):
        return text
    return BETWEEN_TURNS.join(said).encode("utf-8", "replace").decode()

"""Outcomes in long form: one row a (query, candidate), as training formats want them."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.outcomes import CELL, read_outcomes
from cluster.lake.tables import COMPLETIONS, QUERIES
from cluster.outcome import FloatMatrix, OutcomeMatrix


def read_cells(lake: Lake, *, dataset: str, scorer: str, splits: Sequence[str]) -> pl.DataFrame:
    """One row a (query, candidate) with a known reward, by query and candidate.

    Columns: `query_id`, `task`, `split`, `text`, `reference`, `candidate`, `candidate_id`,
    `reward`, `prompt_tokens`, `completion_tokens` (means over the samples), `answer` (of the first
    sample), `seconds` (mean); null where nobody knows.

    Raises:
        InputError: no such dataset or scorer, or no query of these splits has a reward.
    """
    every = read_outcomes(lake, dataset=dataset, scorer=scorer, answers=True)
    outcomes = every.on_splits(splits)
    if not outcomes.mask.any():
        there = ", ".join(sorted(set(every.queries["split"])))
        raise InputError(
            f"dataset '{dataset}' has no query with a reward in {', '.join(splits)}; "
            f"its splits: {there}; name others with --splits"
        )
    return _with_seconds(_with_reference(_long(outcomes), lake=lake), lake=lake)


def _long(outcomes: OutcomeMatrix) -> pl.DataFrame:
    assert outcomes.answers is not None, "read without answers"
    rows, columns = np.nonzero(outcomes.mask)
    names = pl.Series(outcomes.candidates, dtype=pl.String)
    ids = pl.Series(outcomes.candidate_ids, dtype=pl.String)
    answers = pl.concat([outcomes.answers[name].alias("answer") for name in outcomes.candidates])

    def known(matrix: FloatMatrix) -> pl.Series:
        return pl.Series(matrix[rows, columns]).fill_nan(None)

    return (
        outcomes.queries[rows]
        .select("query_id", "task", "split", "text")
        .with_columns(
            candidate=names.gather(columns),
            candidate_id=ids.gather(columns),
            reward=known(outcomes.reward),
            prompt_tokens=known(outcomes.prompt_tokens),
            completion_tokens=known(outcomes.completion_tokens),
            answer=answers.gather(columns * len(outcomes) + rows),
        )
    )


def _with_reference(cells: pl.DataFrame, *, lake: Lake) -> pl.DataFrame:
    asked = cells.lazy().select("query_id").unique()
    references = lake.scan(QUERIES).select("query_id", "reference").join(asked, on="query_id")
    return cells.join(references.collect(), on="query_id", how="left", maintain_order="left")


def _with_seconds(cells: pl.DataFrame, *, lake: Lake) -> pl.DataFrame:
    asked = cells.lazy().select(CELL)
    answered = lake.scan(COMPLETIONS).filter(pl.col("outcome") != "error")
    means = answered.join(asked, on=CELL, how="semi").group_by(CELL).agg(pl.col("seconds").mean())
    return cells.join(means.collect(), on=CELL, how="left", maintain_order="left")


def json_lines(rows: pl.DataFrame) -> bytes:
    """A line a row, null where a value is not known."""
    return _lines(rows.iter_rows(named=True))


def json_lines_of_known(rows: pl.DataFrame) -> bytes:
    """A line a row, with the fields whose value is known."""
    return _lines(
        {name: value for name, value in row.items() if value is not None}
        for row in rows.iter_rows(named=True)
    )


def _lines(rows: Iterable[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()

"""All that a dataset has collected, as numbers: no answer's text is held in memory.

Queries and candidates are rows and columns: 64 characters of id a cell would be 0.5 GB for 500,000
queries and seven candidates, their places are 28 MB.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.outcomes import readable_names, scorers_of
from cluster.lake.tables import CANDIDATES, CHOICES, COMPLETIONS, QUERIES, REWARDS, Table
from cluster.outcome import BoolMatrix, FloatMatrix

CELL = ("row", "column")


@dataclass(frozen=True)
class Cells:
    """Rewards of one scorer.

    Attributes:
        name: the scorer's.
        rows: one row a reward: `row`, `column`, `sample`, `value` (null or finite), `weight`,
            `reason`.
        shape: (n_queries, n_candidates).
    """

    name: str
    rows: pl.DataFrame
    shape: tuple[int, int]

    @cached_property
    def given(self) -> pl.DataFrame:
        """The rows with a value."""
        return self.rows.filter(pl.col("value").is_not_null())

    @cached_property
    def reward(self) -> FloatMatrix:
        """(n_queries, n_candidates): mean over samples by weight; NaN where there is none."""
        weight = self.sums("weight")
        total = self.sums("value", by="weight")
        empty = np.full(self.shape, np.nan)
        mean: FloatMatrix = np.divide(total, weight, out=empty, where=weight > 0)
        return mean

    @cached_property
    def samples(self) -> FloatMatrix:
        """(n_queries, n_candidates): samples behind the mean, those of an imported one included."""
        return self.sums("weight")

    def sums(self, column: str, *, by: str | None = None) -> FloatMatrix:
        """(n_queries, n_candidates): sum of a column of `given`, times another."""
        values = self.given[column].to_numpy()
        weights = values if by is None else values * self.given[by].to_numpy()
        counts = np.bincount(places(self.given, self.shape), weights, self.shape[0] * self.shape[1])
        return np.asarray(counts, dtype=np.float64).reshape(self.shape)


@dataclass(frozen=True)
class Collected:
    """A dataset under one scorer, with the other scorers beside it.

    Attributes:
        dataset: its name.
        queries: one row a query: `query_id`, `task`, `split`, `text`.
        not_chosen: how many others nobody was to answer, as a budget chose these.
        candidates: readable names of all that have answered or been rewarded.
        answers: one row an answer: `row`, `column`, `sample`, `outcome`, `empty` (bool, null where
            the text was not kept), `said` (hash of the text), token counts, `seconds`, costs.
        cells: rewards of the scorer in question.
        others: rewards of other scorers of the dataset, most rewards first.
    """

    dataset: str
    queries: pl.DataFrame
    not_chosen: int
    candidates: tuple[str, ...]
    candidate_ids: tuple[str, ...]
    answers: pl.DataFrame
    cells: Cells
    others: tuple[Cells, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_queries, n_candidates)."""
        return self.cells.shape

    @cached_property
    def tasks(self) -> npt.NDArray[np.str_]:
        """(n_queries,): the queries' tasks."""
        return self.queries["task"].fill_null("").to_numpy().astype(str)

    def any_of(self, rows: pl.DataFrame) -> BoolMatrix:
        """(n_queries, n_candidates): whether any of the rows is of that cell."""
        found = np.zeros(self.shape[0] * self.shape[1], dtype=bool)
        found[places(rows, self.shape)] = True
        return found.reshape(self.shape)


def places(rows: pl.DataFrame, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(n,): where the cell of each row is in a flattened matrix."""
    row, column = (rows[name].to_numpy().astype(np.int64) for name in CELL)
    return row * shape[1] + column


def read_collected(lake: Lake, *, dataset: str, scorer: str, most_others: int = 5) -> Collected:
    """Read a dataset once.

    Args:
        lake: the lake.
        dataset: whose queries.
        scorer: name or id; empty: the only one, or `accuracy`.
        most_others: other scorers that are read too, for their agreement.

    Raises:
        InputError: no such dataset or scorer in the lake; the text lists what there is.
    """
    chosen, others = scorers_of(lake, dataset=dataset, scorer=scorer)
    queries = lake.scan(QUERIES).filter(pl.col("dataset") == dataset).sort("query_id")
    kept, not_chosen = _in_question(queries.collect(), dataset=dataset, lake=lake)
    rows = kept.select("query_id", row=pl.int_range(pl.len(), dtype=pl.UInt32))
    names = _candidates(lake, rows=rows)
    shape = (kept.height, len(names))
    columns = pl.DataFrame(
        {"candidate_id": list(names), "column": range(len(names))},
        schema={"candidate_id": pl.String, "column": pl.UInt32},
    )
    place = _Placed(lake, rows=rows, columns=columns)
    wanted = {chosen[0]: chosen[1], **dict(others[:most_others])}
    rewards = place.rewards(list(wanted))
    cells = [
        Cells(name, rewards.filter(pl.col("scorer_id") == key).drop("scorer_id"), shape)
        for key, name in wanted.items()
    ]
    return Collected(
        dataset=dataset,
        queries=kept,
        not_chosen=not_chosen,
        candidates=tuple(names.values()),
        candidate_ids=tuple(names),
        answers=place.answers(),
        cells=cells[0],
        others=tuple(cells[1:]),
    )


def _in_question(queries: pl.DataFrame, *, dataset: str, lake: Lake) -> tuple[pl.DataFrame, int]:
    """The queries, and how many are left out: where a budget chose, those neither chosen nor
    answered or rewarded are not missing, for nobody was to answer them."""
    kept = queries.select("query_id", "task", "split", "text")
    chosen = lake.scan(CHOICES).filter(pl.col("dataset") == dataset).select("query_id").collect()
    if chosen.is_empty():
        return kept, 0
    seen = [lake.scan(table).select("query_id").unique() for table in (COMPLETIONS, REWARDS)]
    wanted = pl.concat([chosen.lazy(), *seen]).unique().collect()
    own = kept.join(wanted, on="query_id", how="semi", maintain_order="left")
    return own, kept.height - own.height


def _candidates(lake: Lake, *, rows: pl.DataFrame) -> dict[str, str]:
    """candidate_id → readable name, of all that have an answer or a reward here."""
    found = [
        lake.scan(table)
        .join(rows.lazy(), on="query_id", how="semi")
        .select(pl.col("candidate_id").unique())
        for table in (COMPLETIONS, REWARDS)
    ]
    ids = pl.concat(found).unique()
    specs = newest_specs(lake.scan(CANDIDATES)).join(ids, on="candidate_id", how="semi")
    return readable_names(specs.collect())


@dataclass(frozen=True)
class _Placed:
    """Tables of a lake whose ids are places: `rows` of queries, `columns` of candidates."""

    lake: Lake
    rows: pl.DataFrame
    columns: pl.DataFrame

    def scan(self, table: Table) -> pl.LazyFrame:
        """The dataset's part of a table."""
        placed = self.lake.scan(table).join(self.rows.lazy(), on="query_id")
        return placed.join(self.columns.lazy(), on="candidate_id")

    def answers(self) -> pl.DataFrame:
        """See `Collected.answers`."""
        text = pl.col("text")
        return (
            self.scan(COMPLETIONS)
            .select(
                *CELL,
                "sample",
                pl.col("outcome").cast(pl.Categorical),
                "prompt_tokens",
                "completion_tokens",
                "seconds",
                "cost_usd",
                "gpu_seconds",
                "gpu_cost_usd",
                empty=text.str.strip_chars().str.len_bytes() == 0,
                said=text.str.strip_chars().hash(),
            )
            .collect(engine="streaming")
            # What is null has a hash, too.
            .with_columns(said=pl.when(pl.col("empty").is_not_null()).then(pl.col("said")))
        )

    def rewards(self, scorer_ids: list[str]) -> pl.DataFrame:
        """See `Cells.rows`, with `scorer_id`."""
        value = pl.when(pl.col("value").is_finite()).then(pl.col("value"))
        return (
            self.scan(REWARDS)
            .filter(pl.col("scorer_id").is_in(scorer_ids))
            .select(*CELL, "sample", "weight", "reason", "scorer_id", value=value)
            .collect(engine="streaming")
        )

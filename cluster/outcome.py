"""An outcome: what every candidate's answer to a query was worth, as dense matrices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

FloatMatrix = npt.NDArray[np.float64]
BoolMatrix = npt.NDArray[np.bool_]
# The fields with a row a query and a column a candidate.
MATRICES = (
    "reward",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "n_samples",
    "truncated",
)


@dataclass(frozen=True)
class OutcomeMatrix:
    """Mean rewards and tokens of every (query, candidate), for one scorer.

    Attributes:
        queries: one row a query: `query_id`, `dataset`, `task`, `split`, `text`,
            `sampling_probability` (1.0 for uniform draws), and `tags`, lists of str, where a
            tagger was named.
        candidates: readable names, in the order of the matrices' columns; unique.
        candidate_ids: the candidates' hashes, same order.
        reward: (n_queries, n_candidates), mean over samples; NaN exactly where `mask` is False.
        prompt_tokens: (n_queries, n_candidates), mean tokens; NaN where unknown.
        completion_tokens: (n_queries, n_candidates), mean tokens; NaN where unknown.
        cost_usd: (n_queries, n_candidates), USD a table was imported with; NaN where unknown.
        n_samples: (n_queries, n_candidates), samples behind the mean; 0 where missing.
        truncated: (n_queries, n_candidates), share of samples cut at their length limit.
        answers: one row a query and one column a candidate, named for it: the text of its first
            sample, null where there is none; None where answers were not asked for.
    """

    queries: pl.DataFrame
    candidates: tuple[str, ...]
    candidate_ids: tuple[str, ...]
    reward: FloatMatrix
    prompt_tokens: FloatMatrix
    completion_tokens: FloatMatrix
    cost_usd: FloatMatrix
    n_samples: FloatMatrix
    truncated: FloatMatrix
    answers: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        shape = (self.queries.height, len(self.candidates))
        for matrix in (self.reward, self.prompt_tokens, self.completion_tokens):
            assert matrix.shape == shape, f"matrix {matrix.shape} does not match {shape}"
        assert len(set(self.candidates)) == len(self.candidates), "candidate names repeat"

    @property
    def mask(self) -> BoolMatrix:
        """(n_queries, n_candidates): True where a reward is known."""
        return ~np.isnan(self.reward)

    @property
    def texts(self) -> pl.Series:
        """(n_queries,) the queries' texts."""
        return self.queries["text"]

    @property
    def tags(self) -> pl.Series:
        """(n_queries,) lists of tags: the tagger's, or the task alone where none was named."""
        if "tags" in self.queries.columns:
            return self.queries["tags"]
        return self.queries.select(tags=pl.concat_list(pl.col("task").cast(pl.String)))["tags"]

    @property
    def tasks(self) -> npt.NDArray[np.str_]:
        """(n_queries,) the queries' tasks."""
        return self.queries["task"].to_numpy().astype(str)

    def __len__(self) -> int:
        return self.queries.height

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "OutcomeMatrix":
        """The same matrices, on the queries picked by index or mask."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return replace(
            self,
            queries=self.queries[index],
            reward=self.reward[index],
            prompt_tokens=self.prompt_tokens[index],
            completion_tokens=self.completion_tokens[index],
            cost_usd=self.cost_usd[index],
            n_samples=self.n_samples[index],
            truncated=self.truncated[index],
            answers=None if self.answers is None else self.answers[index],
        )

    def on_splits(self, splits: Sequence[str]) -> "OutcomeMatrix":
        """The queries of the given splits."""
        return self.take(self.queries["split"].is_in(list(splits)).to_numpy())

    def complete(self) -> "OutcomeMatrix":
        """The queries for which every candidate has a reward."""
        everywhere: npt.NDArray[np.bool_] = np.asarray(self.mask.all(axis=1))
        return self.take(everywhere)


def concatenate(first: OutcomeMatrix, second: OutcomeMatrix) -> OutcomeMatrix:
    """The rows of both, which must have the same candidates in the same order."""
    assert first.candidates == second.candidates, "candidates differ"
    matrices = {
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in MATRICES
    }
    answers = None
    if first.answers is not None and second.answers is not None:
        answers = pl.concat([first.answers, second.answers])
    queries = pl.concat([first.queries, second.queries])
    return replace(first, queries=queries, answers=answers, **matrices)

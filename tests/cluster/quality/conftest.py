"""Small made-up collections with planted faults, written into a lake as a run leaves them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES, COMPLETIONS, QUERIES, REWARDS, SCORERS
from cluster.quality.quality import Quality, quality

NUMBER_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def text_of(number: int) -> str:
    """Seven words that no other number's text has in this order."""
    digits = [NUMBER_WORDS[int(digit)] for digit in f"{number:04d}"]
    return f"question {' '.join(digits)} of {number}"


@dataclass
class Collection:
    """Queries, and rewards (n_queries, n_candidates, n_samples) with the answers they are for."""

    lake: Lake
    reward: np.ndarray
    names: tuple[str, ...]
    queries: pl.DataFrame = field(init=False)

    def add(self, table, frame: pl.DataFrame) -> None:
        append_new(table.conform(frame).collect(), lake=self.lake, table=table)

    def ids(self) -> pl.DataFrame:
        """`query_id`, `candidate_id`, `sample` of every answer."""
        n, k, m = self.reward.shape
        row, column, sample = (part.ravel() for part in np.indices((n, k, m)))
        return pl.DataFrame(
            {
                "query_id": self.queries["query_id"].gather(row),
                "candidate_id": [f"id-{self.names[place]}" for place in column],
                "sample": sample,
            }
        )

    def reward_by(self, scorer: str, values: np.ndarray, *, spec="{}", **columns) -> None:
        """Rewards of a scorer; NaN is none, null where a `reason` is given."""
        name = {"scorer_id": [f"{scorer}-id"], "name": [scorer], "spec": [spec]}
        self.add(SCORERS, pl.DataFrame(name))
        given = {
            "value": pl.Series(values.ravel().astype(float)).fill_nan(None),
            "weight": pl.lit(1.0),
            "reason": pl.lit(None, dtype=pl.String),
            **columns,
        }
        rows = self.ids().with_columns(scorer_id=pl.lit(f"{scorer}-id"), **given)
        self.add(REWARDS, rows.filter(pl.any_horizontal(pl.col("value", "reason").is_not_null())))

    def measure(self, scorer: str = "exact") -> Quality:
        return quality(self.lake, dataset="d", scorer=scorer)


@pytest.fixture
def collect(tmp_path: Path):
    """Make a collection. `answers`: columns of the answers, by name, as an expression or a value;
    False: none are kept, as in an imported table. `rewards`: the same of the rewards."""

    def make(
        reward, *, name="lake", names=None, queries=None, answers=None, rewards=None
    ) -> Collection:
        reward = np.asarray(reward, dtype=float)
        reward = reward[:, :, None] if reward.ndim == 2 else reward
        n, k, _ = reward.shape
        names = tuple(names or "abcdefgh"[:k])
        made = Collection(Lake.open(tmp_path / name), reward, names)
        given = {
            "query_id": [f"q{row:04d}" for row in range(n)],
            "dataset": "d",
            "task": [("sums", "words")[row % 2] for row in range(n)],
            "text": [text_of(row) for row in range(n)],
            "split": [("train", "train", "validation", "test")[row // 2 % 4] for row in range(n)],
            "sampling_probability": 1.0,
        }
        made.queries = pl.DataFrame({**given, **(queries or {})})
        made.add(QUERIES, made.queries)
        ids = [f"id-{name}" for name in names]
        specs = {"candidate_id": ids, "sequence": 1, "name": names, "spec": "{}"}
        made.add(CANDIDATES, pl.DataFrame(specs))
        if answers is not False:
            columns = {
                "text": pl.concat_str("query_id", pl.lit(" by "), "candidate_id", "sample"),
                "outcome": pl.lit("ok"),
                **(answers or {}),
            }
            made.add(COMPLETIONS, made.ids().with_columns(**columns))
        made.reward_by("exact", reward, **(rewards or {}))
        return made

    return make


@pytest.fixture
def specialists() -> np.ndarray:
    """(80, 2): `a` is right on every sum, `b` on every word; on one in five the other is, too."""
    reward = np.zeros((80, 2))
    reward[0::2, 0] = reward[1::2, 1] = 1
    reward[::10, 1] = reward[5::10, 0] = 1
    return reward

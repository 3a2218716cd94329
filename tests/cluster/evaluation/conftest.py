"""Small outcome matrices with known answers."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from cluster.outcome import OutcomeMatrix

Make = Callable[..., OutcomeMatrix]


@pytest.fixture
def make() -> Make:
    """An outcome matrix from rewards, tasks and, if wanted, costs."""

    def build(reward, tasks, *, cost=None, split: str = "test") -> OutcomeMatrix:
        reward = np.asarray(reward, dtype=float)
        n, width = reward.shape
        queries = pl.DataFrame(
            {
                "query_id": [f"{split}-{row}" for row in range(n)],
                "dataset": "d",
                "task": list(tasks),
                "split": split,
                "text": [f"{split} question {row}" for row in range(n)],
                "sampling_probability": 1.0,
            }
        )
        unknown = np.full((n, width), np.nan)
        return OutcomeMatrix(
            queries=queries,
            candidates=tuple("abcdefgh"[:width]),
            candidate_ids=tuple(f"id-{name}" for name in "abcdefgh"[:width]),
            reward=reward,
            prompt_tokens=unknown,
            completion_tokens=unknown,
            cost_usd=unknown if cost is None else np.asarray(cost, dtype=float),
            n_samples=np.ones((n, width)),
            truncated=np.zeros((n, width)),
        )

    return build

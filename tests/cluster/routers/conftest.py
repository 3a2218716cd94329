"""Made-up outcomes: two tasks that are told apart by their words, and three candidates."""

import numpy as np
import polars as pl
import pytest

from cluster.outcome import OutcomeMatrix

CANDIDATES = ("adder", "roman", "both")


def outcome_matrix(texts, tasks, reward, tokens=None, split="train"):
    reward = np.asarray(reward, dtype=np.float64)
    candidates = CANDIDATES[: reward.shape[1]]
    unknown = np.full(reward.shape, np.nan)
    queries = pl.DataFrame(
        {
            "query_id": [f"{split}-{row}" for row in range(len(texts))],
            "dataset": ["made-up"] * len(texts),
            "task": list(tasks),
            "split": [split] * len(texts),
            "text": list(texts),
            "sampling_probability": [1.0] * len(texts),
        },
        schema_overrides={"task": pl.String, "text": pl.String},
    )
    return OutcomeMatrix(
        queries=queries,
        candidates=candidates,
        candidate_ids=tuple(f"id-{name}" for name in candidates),
        reward=reward,
        prompt_tokens=unknown,
        completion_tokens=unknown if tokens is None else np.asarray(tokens, dtype=np.float64),
        cost_usd=unknown,
        n_samples=np.where(np.isnan(reward), 0.0, 1.0),
        truncated=np.zeros_like(reward),
    )


def two_tasks(n, seed=0, split="train"):
    """Half sums, which `adder` solves; half Roman numerals, which `roman` solves."""
    rng = np.random.default_rng(seed)
    is_sum = np.arange(n) % 2 == 0
    numbers = rng.integers(1, 999, size=(n, 2)).tolist()
    texts = [
        f"What is {a} plus {b}?" if add else f"Write {a} as a Roman numeral, case {b}"
        for add, (a, b) in zip(is_sum, numbers, strict=True)
    ]
    chance = np.where(is_sum[:, None], [0.9, 0.1, 0.6], [0.1, 0.9, 0.6])
    tokens = np.where(is_sum[:, None], [10.0, 20.0, 30.0], [100.0, 200.0, 300.0])
    tasks = np.where(is_sum, "sums", "numerals")
    return outcome_matrix(texts, tasks, rng.random((n, 3)) < chance, tokens, split=split)


@pytest.fixture
def make_outcomes():
    return outcome_matrix


@pytest.fixture
def make_two_tasks():
    return two_tasks

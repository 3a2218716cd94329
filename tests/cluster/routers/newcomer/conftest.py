"""Made-up outcomes of three known candidates and a newcomer, who is a poet."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.lake.probe import choose_probe
from cluster.outcome import OutcomeMatrix
from cluster.routers.knn import Knn

KNOWN = ("steady", "sums", "capitals")
TASKS = ("sums", "capitals", "poems")
# Chance of a right answer by task; the newcomer is a poet.
CHANCE = {
    "steady": (0.5, 0.5, 0.5),
    "sums": (0.8, 0.2, 0.2),
    "capitals": (0.2, 0.8, 0.3),
    "poet": (0.3, 0.3, 0.9),
}


def outcomes_of(n, seed=0, candidates=(*KNOWN, "poet"), hard=0.0):
    """`hard`: how much less anybody is right about the half of the queries that is hard."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(100, 999, size=n)
    task = np.arange(n) % 3
    is_hard = rng.random(n) < 0.5
    word = np.where(is_hard, "tricky puzzling riddle", "plain simple easy")
    texts = [
        (f"add {x} and {x} {w}", f"capital city of land {x} {w}", f"rhyme about flower {x} {w}")[t]
        for t, x, w in zip(task, numbers, word, strict=True)
    ]
    chance = np.column_stack([np.take(CHANCE[name], task) for name in candidates])
    luck = rng.random((n, len(CHANCE)))[:, : len(candidates)]
    reward = (luck < chance - hard * is_hard[:, None]).astype(float)
    tokens = np.outer(10.0 * (task + 1), np.arange(1, len(candidates) + 1))
    queries = pl.DataFrame(
        {
            "query_id": [f"{seed}-{row}" for row in range(n)],
            "dataset": ["made-up"] * n,
            "task": np.take(TASKS, task),
            "split": ["train"] * n,
            "text": texts,
            "sampling_probability": [1.0] * n,
        }
    )
    unknown = np.full(reward.shape, np.nan)
    cells = (reward, unknown, tokens, unknown, np.ones_like(reward), np.zeros_like(reward))
    return OutcomeMatrix(queries, candidates, candidates, *cells)


def without(outcomes, name):
    keep = [place for place, each in enumerate(outcomes.candidates) if each != name]
    names = tuple(outcomes.candidates[place] for place in keep)
    fields = ("reward", "prompt_tokens", "completion_tokens", "cost_usd", "n_samples", "truncated")
    cut = {field: getattr(outcomes, field)[:, keep] for field in fields}
    return replace(outcomes, candidates=names, candidate_ids=names, **cut)


def probe_of(outcomes, vectors, *, size):
    """The chosen queries, with the newcomer's outcomes on them."""
    chosen = choose_probe(without(outcomes, "poet"), vectors=vectors, size=size, seed=0)
    place = {key: row for row, key in enumerate(outcomes.queries["query_id"])}
    rows = np.array([place[key] for key in chosen.queries["query_id"]])
    return replace(outcomes.take(rows), queries=chosen.queries)


@pytest.fixture(scope="session", name="outcomes_of")
def _outcomes_of():
    return outcomes_of


@pytest.fixture(scope="session", name="without")
def _without():
    return without


@pytest.fixture(scope="session", name="probe_of")
def _probe_of():
    return probe_of


@pytest.fixture(scope="session")
def setting():
    """Outcomes to fit on, and a probe of 100 of them with the newcomer's rewards."""
    train = outcomes_of(900)
    knn = Knn().fit(without(train, "poet"), seed=0)
    return train, probe_of(train, knn.vectors, size=100), outcomes_of(300, seed=9)

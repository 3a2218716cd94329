"""Training that goes on from an earlier version, and when it does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster.outcome import OutcomeMatrix
from cluster.routers.context import FitContext
from cluster.routers.knn import Knn
from cluster.routers.multihead import Multihead
from cluster.routers.router import Router
from cluster.routers.warm import Start, why_cold

FAINT = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}


def rows(n: int, *, seed: int, word: str = "") -> OutcomeMatrix:
    """Two candidates, each right where the query's first word is its own."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    texts = [f"{('sum', 'spell')[k]} {word} {rng.integers(40)} {rng.integers(40)}" for k in kind]
    reward = np.stack([kind == 0, kind == 1], axis=1).astype(np.float64)
    queries = pl.DataFrame(
        {
            "query_id": [f"{seed}-{number}" for number in range(n)],
            "dataset": "d",
            "task": "t",
            "split": "train",
            "text": texts,
            "sampling_probability": 1.0,
        }
    )
    tokens = np.full((n, 2), 5.0)
    return OutcomeMatrix(
        queries=queries,
        candidates=("a", "b"),
        candidate_ids=("id-a", "id-b"),
        reward=reward,
        prompt_tokens=tokens,
        completion_tokens=tokens,
        cost_usd=np.full((n, 2), np.nan),
        n_samples=np.ones((n, 2)),
        truncated=np.zeros((n, 2)),
    )


def trained(method: Multihead, data: OutcomeMatrix, *, start: Router | None = None) -> Any:
    context = FitContext(start=start.state() if start else None)
    return method.train(data, validation=rows(40, seed=7), seed=0, context=context).router


def start_of(router: Router, method: Multihead) -> Start:
    return Start("v1", router.candidates, method.model_dump(mode="json"), router.state())


def test_a_faint_step_from_a_version_changes_nothing_and_from_nowhere_knows_nothing() -> None:
    """The encoder stays that of the version, though the new rows have other words."""
    asked = rows(30, seed=9)
    teacher = trained(Multihead(hidden=16, epochs=20), rows(200, seed=1))
    faint = Multihead(hidden=16, **FAINT)
    later = rows(60, seed=2, word="calmly")
    warm, cold = trained(faint, later, start=teacher), trained(faint, later)
    scores = [router.scores(asked.texts) for router in (teacher, warm, cold)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-5)
    assert np.abs(scores[2] - scores[0]).max() > 0.1
    assert warm.encoder.encoder_id == teacher.encoder.encoder_id != cold.encoder.encoder_id


def test_it_is_repeatable_and_another_start_is_another_training() -> None:
    first, second = (trained(Multihead(hidden=8), rows(80, seed=seed)) for seed in (1, 2))
    own = Multihead(hidden=8, epochs=2)
    later = rows(60, seed=3)
    found = [trained(own, later, start=one).scores(later.texts) for one in (first, first, second)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("fixed", "candidates", "word"),
    [
        ({}, ("a", "b"), ""),
        ({"hidden": 8}, ("a", "b"), ""),
        ({"hidden": {"try": [4, 8]}}, ("a", "b"), ""),
        ({"hidden": {"try": [4, 16]}}, ("a", "b"), "hidden"),
        ({"encoder": "huggingface"}, ("a", "b"), "encoder"),
        ({}, ("a", "b", "c"), "candidates"),
        ({}, ("b", "a"), "candidates"),
    ],
)
def test_when_it_begins_anew(fixed: Any, candidates: Any, word: str) -> None:
    method = Multihead(hidden=8, epochs=1)
    start = start_of(trained(method, rows(60, seed=1)), method)
    why = why_cold(start, method=Multihead, fixed=fixed, candidates=candidates)
    assert bool(why) == bool(word)
    assert word in why
    settings = {**start.settings, "tune": True}
    assert "tuned" in why_cold(
        replace(start, settings=settings), method=Multihead, fixed={}, candidates=("a", "b")
    )


def test_what_fits_in_one_go_begins_anew() -> None:
    settings = Knn().model_dump(mode="json")
    start = Start("v1", ("a", "b"), settings, None)  # type: ignore[arg-type]
    assert "one go" in why_cold(start, method=Knn, fixed={}, candidates=("a", "b"))

"""The outcome matrix: what is picked stays together."""

import numpy as np
import polars as pl
import pytest

from cluster.outcome import OutcomeMatrix

NAN = float("nan")
PER_CELL = (
    "reward",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "n_samples",
    "truncated",
)


def outcomes(candidates: tuple[str, ...] = ("a", "b")) -> OutcomeMatrix:
    """Four queries; each cell of each matrix says where it is."""
    queries = pl.DataFrame(
        {
            "query_id": ["q0", "q1", "q2", "q3"],
            "dataset": "d",
            "task": ["t", "u", "t", "u"],
            "split": ["train", "test", "validation", "train"],
            "text": ["x0", "x1", "x2", "x3"],
            "sampling_probability": 1.0,
        }
    )
    cell = np.arange(8, dtype=float).reshape(4, 2)
    matrices = {name: cell + 100 * place for place, name in enumerate(PER_CELL)}
    matrices["reward"] = np.where(cell == 3, NAN, cell)
    return OutcomeMatrix(
        queries=queries, candidates=candidates, candidate_ids=("ia", "ib"), **matrices
    )


def assert_rows(found: OutcomeMatrix, rows: list[int]) -> None:
    assert found.queries["query_id"].to_list() == [f"q{row}" for row in rows]
    assert found.texts.to_list() == [f"x{row}" for row in rows]
    assert len(found) == len(rows)
    for name in PER_CELL:
        np.testing.assert_array_equal(getattr(found, name), getattr(outcomes(), name)[rows])


def test_picking_by_index_or_mask_takes_all_matrices_along() -> None:
    assert_rows(outcomes().take(np.array([3, 0, 0])), [3, 0, 0])
    assert_rows(outcomes().take(np.array([True, False, True, False])), [0, 2])
    assert_rows(outcomes().take(np.array([], dtype=np.int64)), [])


def test_splits_are_picked_in_the_queries_order() -> None:
    assert_rows(outcomes().on_splits(["validation", "train"]), [0, 2, 3])
    assert_rows(outcomes().on_splits(["calibration"]), [])


def test_what_is_missing_is_masked_and_incomplete() -> None:
    assert outcomes().mask.tolist() == [[True, True], [True, False], [True, True], [True, True]]
    assert_rows(outcomes().complete(), [0, 2, 3])
    assert outcomes().tasks.tolist() == ["t", "u", "t", "u"]


def test_names_that_repeat_are_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="repeat"):
        outcomes(candidates=("a", "a"))

from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.gradient import (
    HISTORY_SCHEMA,
    GradientMethod,
    Trained,
    hold_out,
    training_table,
)
from cluster.routers.router import Router


class Watched(GradientMethod):
    """Keeps what it was given."""

    name: ClassVar[str] = "watched"
    router: ClassVar[type[Router]] = BestSingleRouter

    def train(self, outcomes, *, validation, seed, context):
        flat = np.zeros(len(outcomes.candidates))
        router = BestSingleRouter(outcomes.candidates, reward=flat, completion_tokens=flat)
        router.seen = (outcomes, validation, seed)
        return Trained(router, pl.DataFrame(schema=HISTORY_SCHEMA))


def test_a_tenth_of_the_texts_is_held_out_to_stop_by(make_two_tasks):
    outcomes = make_two_tasks(600)
    rows, validation, seed = Watched().fit(outcomes, seed=3).seen
    assert seed == 3
    assert 30 < len(validation) < 90
    together = [*rows.queries["query_id"], *validation.queries["query_id"]]
    assert sorted(together) == sorted(outcomes.queries["query_id"])


def test_equal_texts_are_not_on_both_sides(make_outcomes):
    texts = [f"text {n % 100}" for n in range(300)]
    rows, validation = hold_out(make_outcomes(texts, ["t"] * 300, [[0.0, 1.0]] * 300))
    assert not set(rows.texts) & set(validation.texts)
    assert len(validation)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_rows_does_both(make_outcomes, n):
    outcomes = make_outcomes(["the same"] * n, ["t"] * n, [[0.0, 1.0]] * n)
    rows, validation = hold_out(outcomes)
    assert len(rows) == len(validation) == n


def test_a_candidate_without_rewards_is_refused(make_outcomes):
    outcomes = make_outcomes(["a", "b"], ["t", "t"], [[0.5, np.nan], [0.5, np.nan]])
    with pytest.raises(InputError, match="'roman' has no reward"):
        Watched().fit(outcomes, seed=0)


def test_a_training_is_told_in_one_row():
    rows = [
        (1, "validation", "score", 0.5),
        (2, "validation", "score", 0.7),
        (3, "validation", "score", 0.7),
        (4, "validation", "score", float("nan")),
        (1, "validation", "loss", 0.9),
        (2, "validation", "loss", 0.8),
        (3, "validation", "loss", 0.6),
        (4, "validation", "loss", 0.7),
        (1, "train", "loss", 0.1),
    ]
    history = pl.DataFrame(rows, schema=HISTORY_SCHEMA, orient="row")
    assert training_table({"mf": history}) == [
        {
            "training": "mf",
            "epochs": 4,
            "best_validation_score": 0.7,
            "best_validation_score_epoch": 2,
            "least_validation_loss": 0.6,
            "least_validation_loss_epoch": 3,
        }
    ]


def test_a_figure_nobody_told_is_none():
    history = pl.DataFrame([(1, "train", "loss", 0.1)], schema=HISTORY_SCHEMA, orient="row")
    (row,) = training_table({"own": history})
    assert (row["epochs"], row["best_validation_score"], row["least_validation_loss"]) == (
        1,
        None,
        None,
    )
    assert training_table({}) == []

from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.gradient import HISTORY_SCHEMA, GradientMethod, Trained, hold_out
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

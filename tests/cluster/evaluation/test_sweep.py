"""A router's choices from the dearest policy to the cheapest."""

import numpy as np
import polars as pl
import pytest

from cluster.evaluation.bootstrap import Bootstrap
from cluster.evaluation.sweep import Sweep, lambdas, quality_statistics, sweep
from cluster.routers.router import Prediction

COST = np.tile([1.0, 5.0], (400, 1))


def swept(expected, reward, cost=COST, read=None) -> Sweep:
    expected = np.asarray(expected, dtype=float)
    return sweep(
        Prediction(expected, np.full(expected.shape, np.nan)),
        texts=pl.Series([f"query {row}" for row in range(len(expected))]),
        expected_cost=cost, reward=np.asarray(reward, dtype=float), cost=cost, cheapest=0,
        read=read,
    )  # fmt: skip


def outcomes(seed=0):
    rng = np.random.default_rng(seed)
    hard = rng.random(400) < 0.5
    return np.column_stack([~hard, np.ones(400)]).astype(float)


def test_it_begins_with_the_best_reward_and_ends_with_the_cheapest() -> None:
    reward = outcomes()
    found = swept(reward + np.array([0.0, 0.01]), reward)
    assert found.reward[:, 0].mean() == 1.0
    assert found.cost[:, 0].mean() == 5.0
    assert np.array_equal(found.cost[:, -1], COST[:, 0])
    assert (np.diff(found.cost.mean(axis=0)) <= 0).all()


def test_lambdas_are_where_choices_change() -> None:
    # The dearer is worth 1 and 2 more for 1 USD more, and less on the third query.
    reward = np.array([[0.0, 1.0], [0.0, 2.0], [0.5, 0.2]] * 50)
    cost = np.tile([1.0, 2.0], (150, 1))
    found = lambdas(reward, cost)
    assert found[0] == 0.0
    assert found[1] == 0.5
    assert found[2:]
    assert all(1 < between < 2 for between in found[2:])
    assert lambdas(np.zeros((150, 2)), cost) == [0.0]


def test_an_answer_that_was_read_is_paid_for_by_everyone_but_the_cheapest() -> None:
    reward = outcomes()
    found = swept(reward, reward, read=0)
    dear = reward[:, 0] == 0
    assert np.array_equal(found.cost[:, 1], np.where(dear, 6.0, 1.0))
    other = swept(reward, reward, read=1)
    assert np.array_equal(other.cost[:, 1], np.where(dear, 5.0, 6.0))
    assert np.array_equal(other.cost[:, -1], COST[:, 0])


def test_aiq_of_the_candidates_is_their_middle_and_of_one_who_knows_more() -> None:
    reward = outcomes()
    tasks = np.array(["x", "y"] * 200)
    areas, curves = quality_statistics(
        {"mix": Sweep(reward, COST), "knows": swept(reward, reward)},
        candidates="mix", tasks=tasks, bootstrap=Bootstrap(resamples=30),
    )  # fmt: skip
    easy = np.mean([reward[tasks == task, 0].mean() for task in "xy"])
    assert areas["mix"][0] == pytest.approx((easy + 1) / 2)
    # From the easy ones alone at 1 USD to everything right where only the hard ones cost 5.
    full = 1 + 4 * (1 - easy)
    exact = ((full - 1) * (easy + 1) / 2 + (5 - full)) / 4
    assert areas["knows"][0] == pytest.approx(exact)
    assert (areas["knows"] > areas["mix"]).all()
    assert (np.diff(curves["knows"].cost) >= 0).all()
    assert curves["mix"].quality.tolist() == pytest.approx([easy, 1.0])
    assert curves["mix"].unit == "usd"

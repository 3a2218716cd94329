"""The alarm rings for a router that has collapsed, and only where there is another way."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.evaluation.alarm import collapse_alarms, gain_over
from cluster.evaluation.harness import evaluate
from cluster.policies import load_policy
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.knn import Knn


def alarms(route, *, other, reward):
    found = collapse_alarms(
        {"r": np.asarray(route), "other": np.asarray(other)},
        methods=["r"], alternatives=["other", "r"], reward=np.asarray(reward),
        candidates=("a", "b"),
    )  # fmt: skip
    return list(found)


def shares(to_a, n=100):
    return np.eye(2)[(np.arange(n) >= to_a).astype(int)]


def test_all_to_one_though_another_way_earns_more() -> None:
    (told,) = alarms(shares(97), other=shares(60), reward=shares(60))
    assert "r has collapsed: 97.0% of the queries go to a" in told
    assert "other sends 40% elsewhere and earns 0.4 more a query" in told


def test_no_alarm_where_nothing_is_to_be_routed_or_enough_is() -> None:
    assert not alarms(shares(94), other=shares(50), reward=shares(50))
    # One candidate is best for nearly all.
    assert not alarms(shares(100), other=shares(81), reward=shares(81))
    # Another is better on 30 %, and nobody knows on which.
    assert not alarms(shares(100), other=shares(100), reward=shares(70))
    assert not alarms(shares(100), other=shares(60), reward=np.ones((100, 2)))
    assert not alarms(np.ones((100, 1)), other=np.ones((100, 1)), reward=np.ones((100, 1)))


def test_another_way_must_earn_more_than_chance_explains() -> None:
    chance = np.random.default_rng(0).random((100, 2)) < 0.5
    assert not alarms(shares(100), other=shares(50), reward=chance.astype(float))
    few = np.zeros((100, 2))
    few[-8:, 1] = 1
    assert not alarms(shares(100), other=shares(50), reward=few)
    few[-9:, 1] = 1
    assert alarms(shares(100), other=shares(50), reward=few)


def test_a_way_among_others_is_no_way_for_a_router_of_two() -> None:
    """Of a pair the strong one is always better; a third candidate is best on half."""
    right = np.eye(3)[[0, 2] * 50]
    routes = {"pair": np.eye(3)[[0] * 100], "all": right}
    ring = [
        list(
            collapse_alarms(
                routes, methods=["pair"], alternatives=["all"], reward=right, candidates="abc",
                known={"pair": np.array(known)},
            )
        )
        for known in ([True, True, False], [True, True, True])
    ]  # fmt: skip
    assert [len(each) for each in ring] == [0, 1]


def test_certainty_by_hand() -> None:
    reward = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    a, b = np.eye(2)[[0] * 4], np.eye(2)[[1] * 4]
    assert gain_over(a, route=b, reward=reward) == pytest.approx((1 / np.sqrt(3), 0.25))
    assert gain_over(a, route=a, reward=reward) == (0.0, 0.0)


class Everything(BestSingleRouter):
    """Sends every query to the first candidate."""

    def __init__(self, candidates):
        mean = np.eye(len(candidates))[0]
        super().__init__(candidates, reward=mean, completion_tokens=mean)


def told(make, *, reward, tasks, others=()):
    n = len(reward) // 2
    train = make(reward[:n], tasks[:n], split="train")
    test = make(reward[n:], tasks[n:])
    test = test if not others else _with_words(test)
    train = train if not others else _with_words(train)
    routers = {"stuck": Everything(train.candidates)}
    routers |= {type(each).name: each.fit(train, seed=0) for each in others}
    found = evaluate(
        train, test, routers=routers, prices={}, policy=load_policy("best"), seed=0,
        dataset="d", resamples=20,
    )  # fmt: skip
    return [alarm for alarm in found.alarms if "has collapsed" in alarm]


def _with_words(outcomes):
    """Texts that tell which candidate is right."""
    better = outcomes.reward.argmax(axis=1)
    texts = [f"{('sum numbers', 'rhyme words')[k]} {row}" for row, k in enumerate(better)]
    return replace(outcomes, queries=outcomes.queries.with_columns(text=pl.Series(texts)))


@pytest.mark.parametrize("tasks", [["one"] * 400, ["sums", "words"] * 200])
def test_equal_scores_and_scores_by_chance_ring_no_alarm(make, tasks) -> None:
    assert not told(make, reward=np.full((400, 3), 0.5), tasks=tasks)
    chance = np.random.default_rng(1).random((400, 3)) < 0.5
    assert not told(make, reward=chance, tasks=tasks)
    assert not told(make, reward=chance[:, :1], tasks=tasks)


def test_the_best_for_nearly_all_rings_no_alarm(make) -> None:
    chance = np.random.default_rng(2).random((400, 2)) < [0.8, 0.3]
    assert not told(make, reward=chance, tasks=["sums", "words"] * 200, others=[Knn(k=20)])


def test_tasks_with_a_best_candidate_each_ring_it(make) -> None:
    reward = np.random.default_rng(3).random((400, 2)) < np.array([[0.8, 0.3], [0.3, 0.8]] * 200)
    (alarm,) = told(make, reward=reward, tasks=["sums", "words"] * 200)
    assert "stuck has collapsed" in alarm
    assert "task_lookup sends 50% elsewhere" in alarm


def test_within_one_task_another_router_shows_that_there_is_a_way(make) -> None:
    right = np.eye(2)[np.random.default_rng(4).integers(0, 2, 400)]
    (alarm,) = told(make, reward=right, tasks=["one"] * 400, others=[Knn(k=20)])
    assert "stuck has collapsed" in alarm
    assert "knn sends" in alarm

"""The alarm rings for a router that has collapsed, and only where there is something to route."""

import numpy as np

from cluster.evaluation.alarm import collapse_alarms


def alarms(route, *, lookup, reward):
    found = collapse_alarms(
        {"r": np.asarray(route), "lookup": np.asarray(lookup)},
        methods=["r"], reference="lookup", reward=np.asarray(reward), candidates=("a", "b"),
    )  # fmt: skip
    return list(found)


def shares(to_a, n=100):
    return np.eye(2)[(np.arange(n) >= to_a).astype(int)]


EQUAL = np.ones((100, 2))


def test_all_to_one_though_the_tasks_differ() -> None:
    (told,) = alarms(shares(97), lookup=shares(60), reward=EQUAL)
    assert "r has collapsed: 97.0% of the queries go to a" in told
    assert "lookup sends 40% elsewhere" in told


def test_all_to_one_though_another_is_often_better() -> None:
    (told,) = alarms(shares(100), lookup=shares(100), reward=shares(70))
    assert "on 30% another candidate is better" in told


def test_no_alarm_where_nothing_is_to_be_routed_or_enough_is() -> None:
    assert not alarms(shares(100), lookup=shares(100), reward=EQUAL)
    assert not alarms(shares(94), lookup=shares(50), reward=shares(50))
    assert not alarms(shares(100), lookup=shares(81), reward=shares(81))

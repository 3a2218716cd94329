"""The path: from the reference to the cheapest, each step a part of what there is to save."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.guarantee.path import SETTINGS, choices, path
from cluster.policies.quality_floor import QualityFloor
from cluster.routers.router import Prediction

NAMES = ("cheap", "middle", "strong")
unit = st.floats(0, 1, allow_nan=False, width=32)
POLICY = QualityFloor(floor=0.9, reference="strong").among(NAMES)


def of(reward):
    return Prediction(reward=reward, completion_tokens=np.ones(reward.shape))


def texts(n):
    return pl.Series([f"text {row}" for row in range(n)])


def spent(taus, reward, cost):
    """USD of each setting."""
    made = choices(POLICY, taus=taus, prediction=of(reward), texts=texts(len(reward)), cost=cost)
    return np.array([cost[np.arange(len(cost)), chosen].sum() for chosen in made])


@given(arrays(float, (30, 3), elements=unit), arrays(float, (30, 3), elements=unit))
def test_costs_fall_along_the_path_to_the_least(reward, cost) -> None:
    taus = path(POLICY, prediction=of(reward), texts=texts(30), cost=cost)
    assert list(taus) == sorted(taus)
    assert len(taus) <= SETTINGS
    costs = np.append(cost[:, 2].sum(), spent(taus, reward, cost))
    assert (np.diff(costs) <= 1e-12).all()
    assert costs[-1] == pytest.approx(np.minimum(cost, cost[:, 2:]).min(axis=1).sum())


def test_where_the_reference_is_the_cheapest_there_is_no_path() -> None:
    reward, cost = np.random.default_rng(2).random((20, 3)), np.tile([3.0, 2.0, 1.0], (20, 1))
    assert path(POLICY, prediction=of(reward), texts=texts(20), cost=cost) == ()


def test_steps_are_even_in_what_they_save() -> None:
    rng = np.random.default_rng(0)
    reward, cost = rng.random((3_000, 3)), np.tile([1.0, 2.0, 5.0], (3_000, 1))
    costs = spent(path(POLICY, prediction=of(reward), texts=texts(3_000), cost=cost), reward, cost)
    steps = -np.diff(costs) / (costs[0] - costs[-1])
    assert len(costs) > SETTINGS - 5
    assert steps.max() < 2 / SETTINGS


def test_nobody_beside_the_reference_leaves_no_path() -> None:
    reward, cost = np.ones((5, 3)), np.ones((5, 3))
    alone = np.tile([False, False, True], (5, 1))
    assert path(POLICY, prediction=of(reward), texts=texts(5), cost=cost, allowed=alone) == ()


def test_without_any_cost_the_rank_by_price_is_followed() -> None:
    reward = np.random.default_rng(1).random((500, 3))
    ranked = POLICY.model_copy(update={"by_price": tuple((name,) for name in NAMES)})
    cost = np.full((500, 3), np.nan)
    taus = path(ranked, prediction=of(reward), texts=texts(500), cost=cost)
    made = choices(ranked, taus=taus, prediction=of(reward), texts=texts(500), cost=cost)
    assert len(taus) > 20
    assert (made[-1] == 0).all()

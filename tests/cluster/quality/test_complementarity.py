"""What a choice by query could gain, and with how many candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.quality.complementarity import enough, greedy_subset

REWARDS = arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.floats(0, 1)
)


def test_specialists_gain_what_the_other_one_lacks(collect, specialists):
    gains = collect(specialists).measure().compared.complementarity
    # Half of the queries, and one in five of the other half.
    assert gains.best_single == pytest.approx(0.6)
    assert gains.oracle == 1.0
    assert gains.gain.value == pytest.approx(0.4)
    assert gains.gain.low < 0.4 < gains.gain.high
    assert gains.task_lookup == 1.0
    own = {one.task: (one.own_best, one.gain.value) for one in gains.by_task}
    assert {task: name for task, (name, _) in own.items()} == {"sums": "a", "words": "b"}
    other = "words" if gains.best == "a" else "sums"
    assert own[other][1] == pytest.approx(0.8)
    assert gains.by_task[0].task == other


def test_tasks_count_alike_whatever_their_size(collect):
    reward = np.zeros((100, 2))
    reward[:90, 0] = reward[90:, 1] = 1
    tasks = ["large"] * 90 + ["small"] * 10
    gains = collect(reward, queries={"task": tasks}).measure().compared.complementarity
    assert gains.best_single == pytest.approx(0.5)
    assert gains.best == gains.subset[0] == "a"


def test_who_is_never_needed_comes_last(collect, specialists):
    reward = np.column_stack([specialists[:, 0] * specialists[:, 1], specialists])
    gains = collect(reward).measure().compared.complementarity
    assert set(gains.subset[:2]) == {"b", "c"}
    assert gains.subset_oracle.tolist() == pytest.approx([0.6, 1.0, 1.0])
    assert enough(gains) == 2


def test_nothing_to_gain_is_said(collect):
    rng = np.random.default_rng(0)
    strong = np.ones(200)
    found = collect(np.column_stack([strong, rng.random(200) < 0.5])).measure()
    (alarm,) = [one for one in found.alarms if one.about == "complementarity"]
    assert "gains only 0.0 points over a alone" in alarm.words


@given(reward=REWARDS)
def test_one_more_candidate_never_lowers_the_oracle(reward):
    weights = np.full(len(reward), 1 / len(reward))
    columns, oracle = greedy_subset(reward, weights=weights)
    assert sorted(columns) == list(range(reward.shape[1]))
    assert (np.diff(oracle) >= -1e-12).all()
    assert oracle[0] == pytest.approx((weights @ reward).max())
    assert oracle[-1] == pytest.approx(weights @ reward.max(axis=1))
    # Each adds less than the one before it: the oracle of a set is submodular.
    assert (np.diff(oracle, n=2) <= 1e-12).all()


def test_rewards_that_are_logits_are_not_told_in_percent(collect, specialists):
    found = collect(8 * specialists - 4).measure()
    told = found.compared.complementarity
    assert not told.is_unit
    assert told.gain.value == pytest.approx(8 * 0.4)

import numpy as np
import pytest

from cluster.routers.shrinkage import (
    Parts,
    cluster_strength,
    evidence_penalty,
    table_values,
)


def drawn(rng, *, between, within, n_groups=60, rows_each=40):
    """Rows in groups whose true means scatter around 0."""
    groups = np.repeat(np.arange(n_groups), rows_each)
    truth = rng.normal(0, between, n_groups)
    return truth[groups] + rng.normal(0, within, len(groups)), groups, truth


@pytest.mark.parametrize(("between", "within"), [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5)])
def test_the_strength_is_the_ratio_of_the_variances(between, within):
    rng = np.random.default_rng(0)
    values = np.column_stack([drawn(rng, between=between, within=within)[0] for _ in range(20)])
    groups = np.repeat(np.arange(60), 40)
    strength = cluster_strength(values, groups, n_groups=60)
    assert np.median(strength) == pytest.approx((within / between) ** 2, rel=0.15)


def test_shrunk_values_are_nearer_to_the_truth_than_the_means():
    values, groups, truth = drawn(np.random.default_rng(1), between=0.3, within=2.0)
    shrunk = table_values(values[:, None], groups, n_groups=60)[:, 0]
    means = np.bincount(groups, values) / np.bincount(groups)
    assert np.mean((shrunk - truth) ** 2) < 0.6 * np.mean((means - truth) ** 2)


def test_of_noise_alone_next_to_nothing_is_left():
    rng = np.random.default_rng(2)
    left = [
        np.abs(table_values(rng.normal(size=(3000, 1)), rng.integers(50, size=3000), n_groups=50))
        for _ in range(20)
    ]
    # The means of 60 rows are about 0.1 off.
    assert np.mean(left) < 0.03


def test_missing_cells_count_for_nothing():
    values, groups, _ = drawn(np.random.default_rng(3), between=1.0, within=1.0)
    known = np.arange(len(values)) % 3 > 0
    holed = np.where(known, values, np.nan)[:, None]
    expected = table_values(values[known][:, None], groups[known], n_groups=60)
    assert np.array_equal(table_values(holed, groups, n_groups=60), expected)


@pytest.mark.parametrize("values", [[[np.nan]] * 6, [[0.0]] * 6])
def test_a_column_that_says_nothing_is_nothing(values):
    groups = np.array([0, 0, 1, 1, 2, 2])
    assert np.array_equal(table_values(np.array(values), groups, n_groups=4), np.zeros((4, 1)))


def test_rewards_without_noise_are_not_shrunk():
    groups = np.repeat(np.arange(4), 5)
    values = np.where(groups % 2, 1.0, -1.0)[:, None]
    found = table_values(values, groups, n_groups=4)[:, 0]
    assert found == pytest.approx([-1, 1, -1, 1])


def test_parts_add_up_and_each_query_s_own_sum_to_nothing():
    values = np.array([[1.0, 3.0, np.nan], [np.nan, 2.0, np.nan], [np.nan] * 3])
    parts = Parts.of(values)
    assert np.array_equal(parts.common + parts.own, values, equal_nan=True)
    assert np.nansum(parts.own, axis=1) == pytest.approx([0, 0, 0])
    assert np.isnan(parts.common[2, 0])


def penalty_of(design, target):
    target = target - target.mean()
    values, basis = np.linalg.eigh(design.T @ design)
    return evidence_penalty(target, along=basis.T @ (design.T @ target), spectrum=values)


@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_the_penalty_is_the_ratio_of_noise_and_weights(scale):
    rng = np.random.default_rng(4)
    design = rng.normal(size=(4000, 40))
    design -= design.mean(axis=0)
    found = [
        penalty_of(design, design @ rng.normal(0, scale, 40) + rng.normal(0, 2.0, 4000))
        for _ in range(9)
    ]
    assert np.median(found) == pytest.approx((2.0 / scale) ** 2, rel=0.5)


def test_without_signal_hardly_any_weight_is_left():
    rng = np.random.default_rng(5)
    design = rng.normal(size=(2000, 30)) / np.sqrt(30)
    design -= design.mean(axis=0)
    found = [penalty_of(design, rng.normal(size=2000)) for _ in range(9)]
    # An eigenvalue is 67 on average, so of a weight a tenth is left, or less.
    assert np.median(found) > 9 * 67


def test_targets_that_are_all_equal_need_no_weights():
    design = np.random.default_rng(6).normal(size=(50, 3))
    assert penalty_of(design, np.ones(50)) > 1000

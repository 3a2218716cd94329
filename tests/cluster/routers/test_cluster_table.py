from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.cluster_table import ClusterTable

SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
SMALL = ClusterTable(n_clusters=(4, 8), bags=2)


def test_each_task_goes_to_its_specialist_without_its_label(make_two_tasks):
    router = SMALL.fit(make_two_tasks(200), seed=0)
    prediction = router.predict(pl.Series([SUM, NUMERAL]))
    assert prediction.reward.shape == (2, 3)
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.reward[0] == pytest.approx([0.9, 0.1, 0.6], abs=0.15)
    assert prediction.completion_tokens[1] == pytest.approx([100, 200, 300], rel=0.15)


def test_full_shrinkage_leaves_the_mean_of_the_task(make_two_tasks):
    outcomes = make_two_tasks(200)
    router = ClusterTable(shrinkage=1e12, task_shrinkage=0).fit(outcomes, seed=0)
    sums = outcomes.reward[outcomes.tasks == "sums"].mean(axis=0)
    assert router.predict(pl.Series([SUM])).reward[0] == pytest.approx(sums, abs=1e-6)


def test_within_one_task_the_clusters_speak(make_two_tasks):
    outcomes = make_two_tasks(400)
    queries = outcomes.queries.with_columns(task=pl.lit("all alike"))
    router = ClusterTable(shrinkage=5).fit(replace(outcomes, queries=queries), seed=0)
    reward = router.predict(pl.Series([SUM, NUMERAL])).reward
    assert reward.argmax(axis=1).tolist() == [0, 1]


def test_a_missing_reward_is_masked_and_not_a_zero(make_outcomes):
    reward = np.tile([1.0, 0.5], (60, 1))
    reward[10:, 0] = np.nan
    outcomes = make_outcomes([f"how many apples are {n}" for n in range(60)], ["t"] * 60, reward)
    predicted = SMALL.fit(outcomes, seed=0).predict(pl.Series(["how many apples are 3"])).reward
    assert predicted[0] == pytest.approx([1.0, 0.5])


def test_tokens_are_unknown_exactly_where_none_was_seen(make_outcomes):
    tokens = np.tile([12.0, np.nan], (40, 1))
    texts = [f"how many apples are {n}" for n in range(40)]
    outcomes = make_outcomes(texts, ["t"] * 40, np.ones((40, 2)), tokens)
    predicted = SMALL.fit(outcomes, seed=0).predict(outcomes.texts).completion_tokens
    assert predicted[:, 0] == pytest.approx(12.0)
    assert np.isnan(predicted[:, 1]).all()


def test_a_candidate_unseen_on_a_task_has_the_mean_of_the_others(make_two_tasks):
    outcomes = make_two_tasks(100)
    outcomes.reward[outcomes.tasks == "numerals", 2] = np.nan
    router = ClusterTable(shrinkage=1e12, task_shrinkage=0).fit(outcomes, seed=0)
    elsewhere = np.nanmean(outcomes.reward[:, 2])
    assert router.predict(pl.Series([NUMERAL])).reward[0, 2] == pytest.approx(elsewhere, abs=1e-6)


def test_seeds_repeat(make_two_tasks):
    outcomes = make_two_tasks(100)
    first, second, other = (
        SMALL.fit(outcomes, seed=seed).predict(outcomes.texts).reward for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_grid_begins_with_the_coarsest():
    finest = [max(settings.n_clusters) for settings in ClusterTable.grid()]
    assert finest == sorted(finest)
    assert len(finest) > 1


def test_noise_moves_no_choice_however_fine_the_tables(make_two_tasks, make_outcomes):
    texts, rng = make_two_tasks(600).texts, np.random.default_rng(0)
    reward = rng.random((600, 3)) < [0.5, 0.54, 0.46]
    outcomes = make_outcomes(texts, ["t"] * 600, reward)
    asked = make_two_tasks(300, seed=7).texts
    choice = {
        shrinkage: ClusterTable(n_clusters=(20, 60), bags=2, shrinkage=shrinkage)
        .fit(outcomes, seed=0)
        .predict(asked)
        .reward.argmax(axis=1)
        for shrinkage in (None, 1.0)
    }
    assert (choice[None] == 1).mean() > 0.98
    assert (choice[1.0] == 1).mean() < 0.9


def test_fine_tables_find_what_coarse_ones_cannot(make_outcomes):
    rng = np.random.default_rng(0)
    kind = rng.integers(30, size=1500)
    words = [
        f"alpha{n} beta{n} gamma{n}".translate(str.maketrans("0123456789", "abcdefghij"))
        for n in range(30)
    ]
    right = np.eye(3)[rng.integers(3, size=30)]
    reward = rng.random((1500, 3)) < 0.2 + 0.6 * right[kind]
    outcomes = make_outcomes([words[n] for n in kind], ["t"] * 1500, reward)
    found = {
        size: ClusterTable(n_clusters=(size,), bags=3)
        .fit(outcomes, seed=0)
        .predict(pl.Series(words))
        .reward.argmax(axis=1)
        for size in (2, 40)
    }
    assert (found[40] == right.argmax(axis=1)).mean() > 0.95
    assert (found[2] == right.argmax(axis=1)).mean() < 0.8


def test_sharing_the_encoder_changes_nothing(make_two_tasks):
    outcomes = make_two_tasks(80)
    grid = [SMALL, SMALL.model_copy(update={"shrinkage": 3.0})]
    together = ClusterTable.fit_each(grid, outcomes=outcomes, seed=0)
    for settings, router in zip(grid, together, strict=True):
        alone = settings.fit(outcomes, seed=0).predict(outcomes.texts).reward
        assert np.array_equal(router.predict(outcomes.texts).reward, alone)


def test_nothing_to_learn_from_is_refused(make_two_tasks):
    outcomes = make_two_tasks(40)
    with pytest.raises(InputError, match="no training rows"):
        SMALL.fit(outcomes.take(np.array([], dtype=np.int64)), seed=0)
    outcomes.reward[:, 1] = np.nan
    with pytest.raises(InputError, match="candidate 'roman' has no reward"):
        SMALL.fit(outcomes, seed=0)


def test_an_empty_batch_is_predicted(make_two_tasks):
    empty = pl.Series([], dtype=pl.String)
    assert SMALL.fit(make_two_tasks(40), seed=0).predict(empty).reward.shape == (0, 3)

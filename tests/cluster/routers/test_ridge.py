from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.ridge import Ridge

SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None])


def within_one_task(outcomes):
    """The same rows, all of one task: only the words tell them apart."""
    return replace(outcomes, queries=outcomes.queries.with_columns(task=pl.lit("all alike")))


def test_each_task_goes_to_its_specialist_without_its_label(make_two_tasks):
    prediction = Ridge().fit(make_two_tasks(200), seed=0).predict(ASKED[:2])
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.reward[0] == pytest.approx([0.9, 0.1, 0.6], abs=0.15)
    assert prediction.completion_tokens[1] == pytest.approx([100, 200, 300], rel=0.15)


def test_within_one_task_a_planted_signal_is_found(make_two_tasks):
    router = Ridge().fit(within_one_task(make_two_tasks(400)), seed=0)
    prediction = router.predict(ASKED[:2])
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.completion_tokens[1] == pytest.approx([100, 200, 300], rel=0.25)


def test_noise_moves_no_choice(make_two_tasks, make_outcomes):
    texts, rng = make_two_tasks(600).texts, np.random.default_rng(0)
    reward = rng.random((600, 3)) < [0.5, 0.6, 0.4]
    router = Ridge().fit(make_outcomes(texts, ["t"] * 600, reward), seed=0)
    choice = router.predict(make_two_tasks(300, seed=7).texts).reward.argmax(axis=1)
    assert (choice == 1).mean() > 0.98


def test_length_alone_can_decide(make_outcomes):
    rng = np.random.default_rng(1)
    words = rng.permutation(np.repeat([3, 60], 200))
    texts = [" ".join(["word"] * n) for n in words]
    reward = np.where((words == 60)[:, None], [0.2, 0.8], [0.8, 0.2])
    outcomes = make_outcomes(texts, ["t"] * 400, rng.random((400, 2)) < reward)
    asked = pl.Series([" ".join(["word"] * n) for n in (3, 60)])
    told = Ridge(length_weight=1.0).fit(outcomes, seed=0).predict(asked).reward
    assert told.argmax(axis=1).tolist() == [0, 1]
    blind = Ridge(length_weight=0.0).fit(outcomes, seed=0).predict(asked).reward
    assert blind[0] == pytest.approx(blind[1])


def test_it_is_the_textbook_s_ridge_with_missing_cells(make_two_tasks):
    outcomes = within_one_task(make_two_tasks(120))
    outcomes.reward[::3, 1] = np.nan
    router = Ridge(penalty=2.5, length_weight=0.0).fit(outcomes, seed=0)
    vectors = router.encoder.encode(outcomes.texts).astype(np.float64)
    predicted = router.predict(outcomes.texts).reward
    for column in range(3):
        known = ~np.isnan(outcomes.reward[:, column])
        x, y = vectors[known], outcomes.reward[known, column]
        centred = x - x.mean(axis=0)
        gram = centred.T @ centred + 2.5 * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, centred.T @ (y - y.mean()))
        expected = y.mean() + (vectors - x.mean(axis=0)) @ weights
        assert predicted[:, column] == pytest.approx(expected, abs=1e-9)


def test_a_large_penalty_leaves_the_mean_of_the_task(make_two_tasks):
    outcomes = make_two_tasks(200)
    router = Ridge(penalty=1e12, task_shrinkage=0).fit(outcomes, seed=0)
    sums = outcomes.reward[outcomes.tasks == "sums"].mean(axis=0)
    assert router.predict(ASKED[:1]).reward[0] == pytest.approx(sums, abs=1e-6)


def test_more_caution_is_nearer_to_the_task(make_two_tasks):
    outcomes = within_one_task(make_two_tasks(200))
    spread = [
        settings.fit(outcomes, seed=0).predict(outcomes.texts).reward.std(axis=0).max()
        for settings in Ridge.grid()
    ]
    assert spread == sorted(spread)
    assert spread[0] < spread[-1]


def test_tokens_are_unknown_exactly_where_none_was_seen(make_outcomes):
    texts = [f"how many apples are {n}" for n in range(40)]
    tokens = np.tile([12.0, np.nan], (40, 1))
    outcomes = make_outcomes(texts, ["t"] * 40, np.ones((40, 2)), tokens)
    predicted = Ridge().fit(outcomes, seed=0).predict(outcomes.texts).completion_tokens
    assert predicted[:, 0] == pytest.approx(12.0)
    assert np.isnan(predicted[:, 1]).all()


def test_one_candidate_and_rewards_that_are_all_equal(make_outcomes):
    texts = [f"how many apples are {n}" for n in range(30)]
    outcomes = make_outcomes(texts, ["t"] * 30, np.full((30, 1), 0.7))
    assert Ridge().fit(outcomes, seed=0).predict(outcomes.texts).reward == pytest.approx(0.7)


def test_nothing_to_learn_from_is_refused(make_two_tasks):
    outcomes = make_two_tasks(40)
    with pytest.raises(InputError, match="no training rows"):
        Ridge().fit(outcomes.take(np.array([], dtype=np.int64)), seed=0)
    outcomes.reward[:, 1] = np.nan
    with pytest.raises(InputError, match="candidate 'roman' has no reward"):
        Ridge().fit(outcomes, seed=0)


def test_it_comes_back_from_disk_bit_for_bit(tmp_path, make_two_tasks):
    router = Ridge().fit(make_two_tasks(60), seed=4)
    meta = CheckpointMeta(candidate_ids=("1", "2", "3"))
    version = save_checkpoint(router, str(tmp_path), meta=meta)
    again = Ridge().fit(make_two_tasks(60), seed=4)
    assert save_checkpoint(again, str(tmp_path / "again"), meta=meta) == version
    before, after = router.predict(ASKED), load_router(str(tmp_path)).predict(ASKED)
    assert np.array_equal(before.reward, after.reward)
    assert np.array_equal(before.completion_tokens, after.completion_tokens)


def test_an_empty_batch_is_predicted(make_two_tasks):
    router = Ridge().fit(make_two_tasks(40), seed=0)
    assert router.predict(pl.Series([], dtype=pl.String)).reward.shape == (0, 3)

"""How much of an oracle is luck: known where several answers tell, and else said to be unknown."""

import numpy as np
import pytest

from cluster.quality.report import report


def coins(chance, *, n=400, samples, seed=0):
    """(n, n_candidates, samples): right with these chances, whatever the query is."""
    rng = np.random.default_rng(seed)
    return rng.random((n, len(chance), samples)) < np.array(chance)[None, :, None]


def test_an_oracle_of_coins_is_luck(collect):
    found = collect(coins([0.5, 0.5, 0.5], samples=4)).measure()
    luck = found.luck
    assert luck.samples == {4: 1200}
    assert luck.queries == 400
    assert luck.one_draw == pytest.approx(1 - 0.5**3, abs=0.02)
    assert luck.one_draw > luck.means > luck.best_single
    assert luck.honest == pytest.approx(0.5, abs=0.03)
    (alarm,) = [one for one in found.alarms if one.about == "luck"]
    assert "are luck" in alarm.words


def test_candidates_that_are_sure_have_no_luck(collect, specialists):
    luck = collect(np.repeat(specialists[:, :, None], 3, axis=2)).measure().luck
    assert luck.one_draw == luck.means == luck.honest == 1.0
    assert luck.inflation == 0.0


def test_imported_means_tell_what_their_samples_would(collect):
    drawn = coins([0.3, 0.6, 0.6], samples=10)
    single = collect(drawn).measure().luck
    made = collect(drawn.mean(axis=2), rewards={"weight": 10.0}, answers=False, name="means")
    luck = made.measure().luck
    assert luck.samples == {10: 1200}
    assert luck.one_draw == pytest.approx(single.one_draw, abs=0.01)
    assert luck.means == pytest.approx(single.means)
    assert luck.honest == pytest.approx(single.honest, abs=0.02)


def test_means_of_grades_do_not_tell_the_draws_behind_them(collect):
    grades = np.random.default_rng(0).random((60, 2))
    luck = collect(grades, rewards={"weight": 4.0}, answers=False).measure().luck
    assert luck.queries == 60
    assert luck.one_draw is luck.honest is luck.inflation is None


def test_from_one_answer_nothing_is_known_and_that_is_said(collect):
    made = collect(coins([0.5, 0.8], samples=1))
    found = made.measure()
    assert found.luck.samples == {1: 800}
    assert found.luck.honest is found.luck.inflation is None
    assert found.luck.by_chance == pytest.approx(1 - 0.5 * 0.2, abs=0.03)
    page = report(found).decode()
    assert "From one answer it cannot be known by how much" in page
    assert "samples: 4" in page


def test_only_queries_with_several_answers_of_all_are_looked_at(collect):
    reward = coins([0.5, 0.5], samples=2).astype(float)
    reward[100:, 1, 1] = np.nan
    luck = collect(reward).measure().luck
    assert luck.samples == {1: 300, 2: 500}
    assert luck.queries == 100

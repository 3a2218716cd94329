import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from ray.exceptions import RayTaskError

from cluster.errors import InputError
from cluster.folds import text_folds
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.knn import Knn
from cluster.routers.router import Method, Router
from cluster.routers.search import (
    Trial,
    judge,
    out_of_fold_rewards,
    paired_shortfall,
    plainly,
    simplest_near_best,
)
from cluster.routers.worth import JUDGED, chosen_reward

NAN = float("nan")


class Lean(Method):
    """Mean rewards of the rows it is fitted on, plus a lean towards one candidate."""

    name: ClassVar[str] = "lean"
    router: ClassVar[type[Router]] = BestSingleRouter

    column: int = 0
    lean: float = 0.0

    def fit(self, outcomes, *, seed, context=None):
        mean = np.nanmean(outcomes.reward, axis=0)
        lean = self.lean * np.eye(len(mean))[min(self.column, len(mean) - 1)]
        return BestSingleRouter(outcomes.candidates, reward=mean + lean, completion_tokens=mean)


def cross_validate(grid, *, outcomes, folds, seed):
    values = out_of_fold_rewards(grid, outcomes=outcomes, folds=folds, seed=seed)
    return judge(grid, values=values[JUDGED], tasks=outcomes.tasks)


def folds_of(outcomes, n_folds=4):
    return text_folds(outcomes.texts, n_folds=n_folds, purpose="settings")


def test_every_row_judges_once_by_a_fit_that_has_not_seen_it(make_two_tasks):
    outcomes = make_two_tasks(120)
    folds = folds_of(outcomes)
    grid = [Knn(k=5), Knn(k=40)]
    trials = cross_validate(grid, outcomes=outcomes, folds=folds, seed=0)
    for settings, trial in zip(grid, trials, strict=True):
        rewards = np.empty(len(outcomes))
        for fold in range(4):
            router = settings.fit(outcomes.take(folds != fold), seed=0)
            rewards[folds == fold] = chosen_reward(router, outcomes.take(folds == fold))
        by_task = [rewards[outcomes.tasks == task].mean() for task in ("sums", "numerals")]
        assert trial.macro_reward == pytest.approx(np.mean(by_task), abs=1e-12)
        assert trial.settings == settings


def test_a_clearly_better_setting_is_chosen(make_outcomes):
    rows = [[1, 0, 1], [1, 1, 0]] * 40
    outcomes = make_outcomes([f"text {n}" for n in range(80)], ["t"] * 80, rows)
    grid = [Lean(column=1, lean=9), Lean(column=2, lean=9), Lean()]
    trials = cross_validate(grid, outcomes=outcomes, folds=folds_of(outcomes), seed=0)
    assert simplest_near_best(trials) == Lean()
    assert [trial.macro_reward for trial in trials] == [0.5, 0.5, 1.0]


def test_duplicates_do_not_vouch_for_each_other(make_outcomes):
    """Labels by chance: whoever has seen a text's copy would know it by heart."""
    rng = np.random.default_rng(0)
    reward = rng.permuted(np.tile([1.0, 0.0, 0.0], (150, 1)), axis=1)
    words = ["red", "tall", "small", "old", "new", "cold", "warm", "fast", "slow", "near", "dry"]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(150)]
    outcomes = make_outcomes(texts * 2, ["t"] * 300, np.tile(reward, (2, 1)))
    trial = cross_validate(
        [Knn(k=1, shrinkage=0.01)], outcomes=outcomes, folds=folds_of(outcomes), seed=0
    )[0]
    assert trial.macro_reward < 0.5


def test_missing_cells_are_not_chosen_and_empty_rows_do_not_judge(make_outcomes):
    rows = [[0.2, np.nan, 0.9]] * 40 + [[np.nan] * 3] * 10 + [[0.2, 0.4, 0.9]] * 40
    outcomes = make_outcomes([f"text {n}" for n in range(90)], ["t"] * 90, rows)
    trials = cross_validate([Lean()], outcomes=outcomes, folds=folds_of(outcomes), seed=0)
    assert trials[0].macro_reward == pytest.approx(0.9)


def test_a_candidate_known_in_one_fold_alone_is_no_obstacle(make_outcomes):
    rows = np.array([[0.5, 0.7, np.nan]] * 60)
    outcomes = make_outcomes([f"text {n}" for n in range(60)], ["t"] * 60, rows)
    folds = folds_of(outcomes)
    rows[folds == 0, 2] = 1.0
    outcomes = make_outcomes([f"text {n}" for n in range(60)], ["t"] * 60, rows)
    trials = cross_validate([Lean()], outcomes=outcomes, folds=folds, seed=0)
    assert trials[0].macro_reward == pytest.approx(0.7)


def test_one_fold_tries_nothing(make_two_tasks):
    outcomes = make_two_tasks(20)
    one = np.zeros(20, dtype=np.int64)
    assert cross_validate([Lean(), Lean(lean=1)], outcomes=outcomes, folds=one, seed=0) == ()


def test_a_candidate_without_any_reward_is_refused(make_outcomes):
    outcomes = make_outcomes(["a", "b"], ["t", "t"], [[0.5, np.nan], [0.5, np.nan]])
    with pytest.raises(InputError, match="'roman' has no reward"):
        cross_validate([Lean()], outcomes=outcomes, folds=np.array([0, 1]), seed=0)


def test_shortfall_and_its_error_by_hand():
    difference = np.array([0.0, 1.0, 0.0, 1.0, 0.5, 0.5])
    mean, error = paired_shortfall(difference, np.array(["a"] * 4 + ["b"] * 2))
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(np.sqrt((1 / 3) / 4) / 2)


def test_the_best_itself_is_always_near_enough():
    trials = (Trial(Lean(), 0.4, 0.1, 0.0), Trial(Lean(column=1), 0.5, 0.0, 0.0))
    assert simplest_near_best(trials).column == 1


# Ray settles how it authenticates when it is imported: in a process that begins with it.
ON_RAY = """
import sys
from cluster.ray_cluster import prepare_environment
prepare_environment()
import ray
import numpy as np
from cluster.folds import text_folds
from cluster.routers.cluster_table import ClusterTable
from cluster.routers.context import ALONE
from cluster.routers.search import out_of_fold_rewards
from cluster.routers.train_each import train_each
from cluster.routers.zooter import Zooter
from conftest import two_tasks

outcomes = two_tasks(90)
grid = ClusterTable.grid()[:3]
folds = text_folds(outcomes.texts, n_folds=3, purpose="settings")

def values():
    return out_of_fold_rewards(grid, outcomes=outcomes, folds=folds, seed=1)

def trained():
    grid = [Zooter(beta=beta, epochs=2, hidden=8) for beta in (0.1, 0.7)]
    validation = two_tasks(30, seed=3)
    return train_each(grid, train=outcomes, validation=validation, seed=1, context=ALONE)

alone, networks = values(), trained()
ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR", _temp_dir=sys.argv[1])
tasks = []
remote = ray.remote
ray.remote = lambda **options: lambda work: tasks.append(options) or remote(**options)(work)
assert np.array_equal(values(), alone)
assert tasks == [{"num_cpus": 1}]
for one, other in zip(trained(), networks, strict=True):
    assert one.history.equals(other.history)
    assert one.router.candidates == other.router.candidates
    said = [each.router.predict(outcomes.texts) for each in (one, other)]
    assert np.array_equal(said[0].reward, said[1].reward)
    assert np.array_equal(said[0].completion_tokens, said[1].completion_tokens, equal_nan=True)
assert not np.array_equal(networks[0].router.predict(outcomes.texts).reward, said[0].reward)
assert len(tasks) == 2
print("equal")
"""


def test_on_ray_the_trials_are_the_same():
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", ON_RAY, folder],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.stdout.strip().endswith("equal"), done.stderr


def test_a_query_without_a_value_does_not_count(make_two_tasks):
    values = np.array([[1.0, 0.0, NAN, 1.0], [1.0, 1.0, 0.0, NAN]])
    trials = judge([Lean(), Lean(lean=1.0)], values=values, tasks=np.array(["t"] * 4))
    assert [trial.macro_reward for trial in trials] == [0.5, 1.0]
    assert not np.isnan([trial.standard_error for trial in trials]).any()
    assert judge([Lean()], values=np.full((1, 4), NAN), tasks=np.array(["t"] * 4)) == ()


def test_a_refusal_on_a_worker_is_told_without_its_traceback():
    refused = InputError("setting 'k': no such candidate")
    wrapped = RayTaskError("fold_rewards", "Traceback, line by line", refused).as_instanceof_cause()
    assert isinstance(wrapped, InputError)
    assert str(plainly(wrapped)) == "setting 'k': no such candidate"
    assert plainly(refused) is refused

from typing import ClassVar

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers import fit as fit_module
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.fit import Trial, concatenate, fit_method, paired_shortfall, simplest_near_best
from cluster.routers.router import Method, Router


class AlwaysColumn(Method):
    """Bets on one column, whatever it is shown; remembers the rows it was fitted on."""

    name: ClassVar[str] = "always_column"
    router: ClassVar[type[Router]] = BestSingleRouter

    column: int = 0

    def fit(self, outcomes, *, seed, context=None):
        reward = np.eye(len(outcomes.candidates))[self.column]
        router = BestSingleRouter(outcomes.candidates, reward=reward, completion_tokens=reward)
        router.fitted_rows = len(outcomes)
        return router

    @classmethod
    def grid(cls):
        return [cls(column=column) for column in range(3)]


@pytest.fixture
def bet(monkeypatch):
    """Fit `AlwaysColumn` as if it were installed."""
    monkeypatch.setattr(fit_module, "load_plugin", lambda kind, name: AlwaysColumn)
    return lambda train, validation: fit_method(
        "always_column", train=train, validation=validation, seed=0
    )


def rewards(make_outcomes, rows, tasks=None):
    return make_outcomes([f"text {n}" for n in range(len(rows))], tasks or ["t"] * len(rows), rows)


def test_a_clearly_better_setting_is_chosen(bet, make_outcomes):
    table = rewards(make_outcomes, [[0, 1, 0], [0, 1, 1]] * 50)
    found = bet(table, table)
    assert found.settings.column == 1
    assert [trial.macro_reward for trial in found.trials] == pytest.approx([0, 1, 0.5])


def test_within_one_standard_error_the_simplest_is_chosen(bet, make_outcomes):
    # 24 right against 26 of 50, the rows at odds with each other: 0.04 behind, error 0.14.
    rows = [[1, 0, 0]] * 24 + [[0, 1, 0]] * 26
    table = rewards(make_outcomes, rows)
    found = bet(table, table)
    assert found.settings.column == 0
    assert found.trials[0].shortfall == pytest.approx(0.04)
    assert found.trials[0].standard_error == pytest.approx(0.1427, abs=1e-3)


def test_the_mean_is_over_tasks(bet, make_outcomes):
    rows = [[1, 0.9, 0]] * 60 + [[0, 1, 0]] * 4
    table = rewards(make_outcomes, rows, ["large"] * 60 + ["small"] * 4)
    assert bet(table, table).settings.column == 1


def test_the_router_is_fitted_on_train_and_validation(bet, make_outcomes):
    train = rewards(make_outcomes, [[0, 1, 0]] * 30)
    assert bet(train, train.take(np.arange(7))).router.fitted_rows == 37


def test_without_validation_rows_the_default_is_fitted(bet, make_outcomes):
    train = rewards(make_outcomes, [[0, 1, 0]] * 30)
    found = bet(train, train.take(np.array([], dtype=np.int64)))
    assert found.trials == ()
    assert found.settings == AlwaysColumn()


def test_rows_without_a_reward_do_not_judge(bet, make_outcomes):
    nothing = [float("nan")] * 3
    table = rewards(make_outcomes, [[0, 1, 0], [0, 1, 1]] * 50 + [nothing] * 5)
    assert bet(table, table).settings.column == 1


def test_shortfall_and_its_error_by_hand():
    difference = np.array([0.0, 1.0, 0.0, 1.0, 0.5, 0.5])
    mean, error = paired_shortfall(difference, np.array(["a"] * 4 + ["b"] * 2))
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(np.sqrt((1 / 3) / 4) / 2)


def test_the_best_itself_is_always_near_enough():
    trials = (Trial(AlwaysColumn(), 0.4, 0.1, 0.0), Trial(AlwaysColumn(column=1), 0.5, 0.0, 0.0))
    assert simplest_near_best(trials).column == 1


@pytest.mark.parametrize("name", ["cluster_table", "knn", "random", "best_single"])
def test_every_installed_method_fits(name, make_two_tasks):
    found = fit_method(
        name,
        train=make_two_tasks(80),
        validation=make_two_tasks(30, seed=1, split="validation"),
        seed=0,
    )
    asked = make_two_tasks(20, seed=2)
    assert found.router.predict(asked.texts).reward.shape == asked.reward.shape
    assert len(found.trials) == (
        0 if len(type(found.settings).grid()) == 1 else len(type(found.settings).grid())
    )


def test_an_unknown_method_is_refused(make_two_tasks):
    with pytest.raises(InputError, match="no_such"):
        fit_method("no_such", train=make_two_tasks(9), validation=make_two_tasks(9), seed=0)


def test_concatenate_keeps_rows_in_order(make_two_tasks):
    first, second = make_two_tasks(4), make_two_tasks(6, seed=1)
    both = concatenate(first, second)
    assert both.texts.to_list() == first.texts.to_list() + second.texts.to_list()
    assert np.array_equal(both.reward, np.concatenate([first.reward, second.reward]))

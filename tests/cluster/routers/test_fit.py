from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers import fit as fit_module
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.context import FitContext
from cluster.routers.fit import concatenate, fit_method
from cluster.routers.gradient import HISTORY_SCHEMA, GradientMethod, Trained
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
    assert len(found.trials) == len(type(found.settings).grid())


def test_an_unknown_method_is_refused(make_two_tasks):
    with pytest.raises(InputError, match="no_such"):
        fit_method("no_such", train=make_two_tasks(9), validation=make_two_tasks(9), seed=0)


def test_concatenate_keeps_rows_in_order(make_two_tasks):
    first, second = make_two_tasks(4), make_two_tasks(6, seed=1)
    both = concatenate(first, second)
    assert both.texts.to_list() == first.texts.to_list() + second.texts.to_list()
    assert np.array_equal(both.reward, np.concatenate([first.reward, second.reward]))


class TrainedColumn(GradientMethod):
    """Bets on one column; remembers how it was trained."""

    name: ClassVar[str] = "trained_column"
    router: ClassVar[type[Router]] = BestSingleRouter

    column: int = 0

    def train(self, outcomes, *, validation, seed, context):
        reward = np.eye(len(outcomes.candidates))[self.column]
        router = BestSingleRouter(outcomes.candidates, reward=reward, completion_tokens=reward)
        router.seen = (outcomes.texts.to_list(), validation.texts.to_list(), context.name)
        note = [(1, "train", "loss", float(self.column))]
        return Trained(router, pl.DataFrame(note, schema=HISTORY_SCHEMA, orient="row"))

    @classmethod
    def grid(cls):
        return [cls(column=column) for column in range(3)]


@pytest.fixture
def train_bet(monkeypatch):
    """Fit `TrainedColumn` as if it were installed."""
    monkeypatch.setattr(fit_module, "load_plugin", lambda kind, name: TrainedColumn)
    return lambda train, validation, **more: fit_method(
        "trained_column", train=train, validation=validation, seed=0, **more
    )


def test_a_trained_router_is_kept_as_it_was_chosen(train_bet, make_outcomes):
    train = make_outcomes([f"text {n}" for n in range(40)], ["t"] * 40, [[1, 0, 0]] * 40)
    validation = make_outcomes([f"other {n}" for n in range(20)], ["t"] * 20, [[0, 1, 0]] * 20)
    found = train_bet(train, validation)
    assert found.settings.column == 1
    assert [trial.macro_reward for trial in found.trials] == [0, 1, 0]
    assert found.router.seen[:2] == (train.texts.to_list(), validation.texts.to_list())
    assert found.history["value"].to_list() == [1.0]


def test_validation_rows_without_a_reward_stop_nothing(train_bet, make_outcomes):
    train = make_outcomes([f"text {n}" for n in range(9)], ["t"] * 9, [[1, 0, 0]] * 9)
    rewards = [[np.nan] * 3, [0, 0, 1]]
    found = train_bet(train, make_outcomes(["none", "some"], ["t", "t"], rewards))
    assert found.router.seen[1] == ["some"]


def test_without_validation_rows_a_part_of_train_takes_their_place(train_bet, make_two_tasks):
    train = make_two_tasks(200)
    rows, validation, _ = train_bet(train, train.take(np.zeros(200, dtype=bool))).router.seen
    assert validation
    assert sorted(rows + validation) == sorted(train.texts)


def test_every_setting_is_trained_under_a_name_of_its_own(train_bet, make_two_tasks):
    names = [
        train_bet(
            make_two_tasks(20),
            make_two_tasks(9, seed=1),
            fixed={"column": column},
            context=FitContext(name="work"),
        ).router.seen[2]
        for column in (0, 1, 1)
    ]
    assert names[0] != names[1] == names[2]
    assert all(name.startswith("work-") for name in names)


def test_settings_are_chosen_by_cross_validation_on_both(bet, make_outcomes, monkeypatch):
    monkeypatch.setattr(fit_module, "load_plugin", lambda kind, name: AlwaysColumn)
    train = make_outcomes([f"text {n}" for n in range(60)], ["t"] * 60, [[0, 1, 0]] * 60)
    validation = make_outcomes([f"more {n}" for n in range(20)], ["t"] * 20, [[0, 0, 1]] * 20)
    folds = np.arange(80) % 4
    found = fit_method("any", train=train, validation=validation, seed=0, folds=folds)
    assert found.settings.column == 1
    assert [trial.macro_reward for trial in found.trials] == [0, 0.75, 0.25]
    assert found.router.fitted_rows == 80

"""Choosing a method's settings, and fitting it with them on train + validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from cluster.errors import InputError
from cluster.folds import Folds
from cluster.outcome import FloatMatrix, OutcomeMatrix, concatenate
from cluster.plugins import load_plugin
from cluster.routers.context import ALONE, FitContext
from cluster.routers.gradient import GradientMethod, held_out_rows
from cluster.routers.means import require_rewards
from cluster.routers.router import Method, Router
from cluster.routers.search import (
    Trial,
    judge,
    out_of_fold_rewards,
    simplest_near_best,
    validation_rewards,
    worth_of_each,
)
from cluster.routers.space import combinations, is_choice, require_few
from cluster.routers.train_each import train_each
from cluster.routers.worth import EARNED, JUDGED

__all__ = ["Fit", "concatenate", "fit_method", "load_method", "settings_to_try"]


@dataclass(frozen=True)
class Fit:
    """A fitted method.

    Attributes:
        router: fitted on train + validation, or trained on train with validation to stop by.
        settings: the ones chosen.
        trials: all that were tried, in the grid's order; none without rows to judge by.
        history: of the training, in `cluster.routers.gradient.HISTORY_SCHEMA`; None for a method
            that does not train by gradient.
        unseen: (n_train + n_validation,), on each row of train and then of validation the reward of
            what the chosen settings choose when fitted without that row; NaN on rows that nothing
            was fitted without, and without a reward.
    """

    router: Router
    settings: Method
    trials: tuple[Trial, ...]
    history: pl.DataFrame | None = None
    unseen: FloatMatrix | None = None


def load_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        InputError: it is not installed.
    """
    method = load_plugin("routers", name=name)
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"router '{name}' is {method!r}, expected a subclass of Method")
    return method


def settings_to_try(method: type[Method], *, fixed: Mapping[str, Any]) -> list[Method]:
    """The method's grid with some settings held fixed, or tried as declared; none of them twice.

    A setting with a declared space (`cluster.routers.space`) leaves the grid's own values of it
    out; of every combination declared the others' values in the grid are tried.

    Raises:
        InputError: a setting is unknown or out of range, or there is too much to try.
    """
    declared = combinations(fixed, method=method.name)
    try:
        others = distinct([method(**{**own.model_dump(), **declared[0]}) for own in method.grid()])
        if len(declared) == 1:
            return others
        require_few(len(declared) * len(others), method=method.name)
        kept = [{k: v for k, v in own.model_dump().items() if k not in fixed} for own in others]
        return distinct([method(**{**own, **chosen}) for chosen in declared for own in kept])
    except ValidationError as error:
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))
            for fault in error.errors()
        )
        known = ", ".join(method.model_fields) or "none"
        raise InputError(f"method '{method.name}': {faults}; its settings: {known}") from error


def distinct(grid: Sequence[Method]) -> list[Method]:
    """The settings in their order, what is equal once."""
    return [entry for place, entry in enumerate(grid) if entry not in grid[:place]]


def fit_method(
    name: str,
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    fixed: Mapping[str, Any] | None = None,
    context: FitContext = ALONE,
    folds: Folds | None = None,
) -> Fit:
    """Choose among the method's grid, then fit on train + validation.

    Chosen is the simplest within one paired standard error of the best. A single entry is tried
    too, to know what it is worth; with no rows to judge by it is the entry, or the default.

    A method that trains by gradient is trained on train with each of the settings, on validation
    its checkpoint and then its settings are chosen, and the router that was chosen is kept: fitted
    again on all rows there would be none left to tell when to stop.

    Args:
        name: of the method.
        train, validation: what is learned from, and what settings are chosen on.
        seed: of everything random.
        fixed: settings that are given and not to be chosen, or the values to choose among.
        context: where the fit runs.
        folds: (n_train + n_validation,), the fold of each row of train and then of validation:
            settings are chosen by cross-validation on both. Methods that train by gradient choose
            on validation all the same.

    Raises:
        InputError: the method is not installed, a setting is none of its own, or there is nothing
            to fit on.
    """
    method = load_method(name)
    grid = settings_to_try(method, fixed=fixed or {})
    if issubclass(method, GradientMethod):
        return _best_trained(grid, train=train, validation=validation, seed=seed, context=context)
    both = concatenate(train, validation)
    judges = len(train) + np.flatnonzero(validation.mask.any(axis=1))
    values = np.full((2, len(grid), len(both)), np.nan)
    if folds is not None:
        values = out_of_fold_rewards(grid, outcomes=both, folds=folds, seed=seed, context=context)
    elif len(judges):
        values[..., judges] = validation_rewards(
            grid, train=train, validation=both.take(judges), seed=seed, context=context
        )
    trials = judge(grid, values=values[JUDGED], tasks=both.tasks)
    if not trials:
        chosen = grid[0] if len(grid) == 1 else _undecided(method, fixed=fixed or {})
        return Fit(chosen.fit(both, seed=seed, context=context), chosen, trials)
    chosen = simplest_near_best(trials)
    router = chosen.fit(both, seed=seed, context=context)
    return Fit(router, chosen, trials, unseen=values[EARNED, grid.index(chosen)])


def _undecided(method: type[Method], *, fixed: Mapping[str, Any]) -> Method:
    """The settings where nothing decides: the first of a declared space, else the defaults."""
    if any(is_choice(value) for value in fixed.values()):
        return settings_to_try(method, fixed=fixed)[0]
    return method(**fixed)


def _best_trained(
    grid: Sequence[Method],
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext,
) -> Fit:
    """Train with each of the settings; keep the router of those that are chosen."""
    require_rewards(train)
    both = concatenate(train, validation)
    judges = len(train) + np.flatnonzero(validation.mask.any(axis=1))
    learned_from = np.arange(len(train))
    if not len(judges):
        held_out = held_out_rows(train)
        judges, learned_from = np.flatnonzero(held_out), np.flatnonzero(~held_out)
    # Of a handful of rows all teach and all judge; what that comes to is no figure to be compared.
    judged_by = both.take(judges) if len(judges) else train
    methods = [entry for entry in grid if isinstance(entry, GradientMethod)]
    trained = train_each(
        methods, train=both.take(learned_from), validation=judged_by, seed=seed, context=context
    )
    values = worth_of_each(grid, [one.router for one in trained], outcomes=judged_by)
    trials = judge(grid, values=values[JUDGED], tasks=judged_by.tasks)
    place = list(grid).index(simplest_near_best(trials))
    unseen = np.full(len(both), np.nan)
    unseen[judges] = values[EARNED, place, : len(judges)]
    kept = trained[place]
    return Fit(kept.router, grid[place], trials, kept.history, unseen)

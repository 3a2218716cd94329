"""Choosing a method's settings, and fitting it with them on train + validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from cluster.errors import InputError
from cluster.folds import Folds
from cluster.outcome import OutcomeMatrix, concatenate
from cluster.plugins import load_plugin
from cluster.query import digest
from cluster.routers.context import ALONE, FitContext
from cluster.routers.gradient import GradientMethod, Trained, hold_out
from cluster.routers.means import require_rewards
from cluster.routers.router import Method, Router
from cluster.routers.search import (
    Trial,
    chosen_reward,
    cross_validate,
    judge,
    simplest_near_best,
    try_all,
)

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
    """

    router: Router
    settings: Method
    trials: tuple[Trial, ...]
    history: pl.DataFrame | None = None


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
    """The method's grid with some settings held fixed; what is then equal is tried once.

    Raises:
        InputError: a fixed setting is unknown or out of range.
    """
    try:
        grid = [method(**{**entry.model_dump(), **fixed}) for entry in method.grid()]
    except ValidationError as error:
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))
            for fault in error.errors()
        )
        known = ", ".join(method.model_fields) or "none"
        raise InputError(f"method '{method.name}': {faults}; its settings: {known}") from error
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
        fixed: settings that are given and not to be chosen.
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
    usable = validation.take(np.flatnonzero(validation.mask.any(axis=1)))
    if issubclass(method, GradientMethod):
        return _best_trained(grid, train=train, validation=usable, seed=seed, context=context)
    both = concatenate(train, validation)
    trials: tuple[Trial, ...] = ()
    if folds is not None:
        trials = cross_validate(grid, outcomes=both, folds=folds, seed=seed, context=context)
    elif len(usable):
        trials = try_all(grid, train=train, validation=usable, seed=seed, context=context)
    untried = grid[0] if len(grid) == 1 else method(**(fixed or {}))
    chosen = simplest_near_best(trials) if trials else untried
    router = chosen.fit(both, seed=seed, context=context)
    return Fit(router=router, settings=chosen, trials=trials)


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
    if not len(validation):
        train, validation = hold_out(train)
    trained = [
        _trained(settings, train=train, validation=validation, seed=seed, context=context)
        for settings in grid
    ]
    values = np.stack([chosen_reward(one.router, validation) for one in trained])
    trials = judge(grid, values=values, tasks=validation.tasks)
    chosen = simplest_near_best(trials)
    kept = trained[list(grid).index(chosen)]
    return Fit(router=kept.router, settings=chosen, trials=trials, history=kept.history)


def _trained(
    settings: Method,
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext,
) -> Trained:
    """Trained under a name of its own: settings are resumed by name."""
    assert isinstance(settings, GradientMethod), f"{settings.name} does not train by gradient"
    own = digest([settings.name, settings.model_dump_json()])[:8]
    named = replace(context, name=f"{context.name}-{own}" if context.name else "")
    return settings.train(train, validation=validation, seed=seed, context=named)

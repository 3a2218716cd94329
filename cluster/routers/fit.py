"""Choosing a method's settings on validation, and fitting it on train + validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import ValidationError

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.plugins import load_plugin
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import macro_means
from cluster.routers.router import Method, Router

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One of the settings, tried on validation.

    Attributes:
        settings: the method with its settings.
        macro_reward: macro mean reward of the best-quality policy on validation.
        shortfall: how far it is behind the best trial.
        standard_error: of the shortfall, paired by query; 0 for the best.
    """

    settings: Method
    macro_reward: float
    shortfall: float
    standard_error: float


@dataclass(frozen=True)
class Fit:
    """A fitted method.

    Attributes:
        router: fitted on train + validation.
        settings: the ones chosen.
        trials: all that were tried, in the grid's order; none without validation rows.
    """

    router: Router
    settings: Method
    trials: tuple[Trial, ...]


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
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
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
) -> Fit:
    """Choose among the method's grid, then fit on train + validation.

    Chosen is the simplest within one paired standard error of the best. With a single entry in
    the grid, or no validation rows, nothing is tried: it is the entry, or the default.

    Args:
        name: of the method.
        train, validation: what is learned from, and what settings are chosen on.
        seed: of everything random.
        fixed: settings that are given and not to be chosen.
        context: where the fit runs.

    Raises:
        InputError: the method is not installed, a setting is none of its own, or there is nothing
            to fit on.
    """
    method = load_method(name)
    grid = settings_to_try(method, fixed=fixed or {})
    usable = validation.take(np.flatnonzero(validation.mask.any(axis=1)))
    trials: tuple[Trial, ...] = ()
    chosen = grid[0] if len(grid) == 1 else method(**(fixed or {}))
    if len(grid) > 1 and len(usable):
        trials = try_all(grid, train=train, validation=usable, seed=seed, context=context)
        chosen = simplest_near_best(trials)
    router = chosen.fit(concatenate(train, validation), seed=seed, context=context)
    return Fit(router=router, settings=chosen, trials=trials)


def try_all(
    grid: Sequence[Method],
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext = ALONE,
) -> tuple[Trial, ...]:
    """Fit every entry on train, and value its choices on validation."""
    routers = type(grid[0]).fit_each(grid, outcomes=train, seed=seed, context=context)
    values = [chosen_reward(router, validation) for router in routers]
    macro = [float(macro_means(value[:, None], validation.tasks)[0]) for value in values]
    best = values[int(np.argmax(macro))]
    return tuple(
        Trial(settings, mean, *paired_shortfall(best - value, validation.tasks))
        for settings, mean, value in zip(grid, macro, values, strict=True)
    )


def chosen_reward(router: Router, outcomes: OutcomeMatrix) -> Values:
    """(n_queries,): reward of the candidate expected to be best, among those with a reward."""
    expected = router.predict(outcomes.texts).reward
    choice = np.argmax(np.where(outcomes.mask, expected, -np.inf), axis=1)
    reward: Values = outcomes.reward[np.arange(len(outcomes)), choice]
    return reward


def paired_shortfall(difference: Values, tasks: npt.NDArray[np.str_]) -> tuple[float, float]:
    """Macro mean of per-query differences, and its standard error.

    `difference`: (n_queries,). The error is sqrt(sum over tasks of variance / n) / n_tasks; a task
    with one row has no variance of its own and takes that of all rows.
    """
    names, groups = np.unique(tasks, return_inverse=True)
    parts = [difference[groups == group] for group in range(len(names))]
    overall = float(np.var(difference, ddof=1)) if len(difference) > 1 else 0.0
    squared = [
        (float(np.var(part, ddof=1)) if len(part) > 1 else overall) / len(part) for part in parts
    ]
    mean = float(np.mean([part.mean() for part in parts]))
    return mean, float(np.sqrt(sum(squared))) / len(parts)


def simplest_near_best(trials: tuple[Trial, ...]) -> Method:
    """The first trial that is within one standard error of the best."""
    return next(t.settings for t in trials if t.shortfall <= t.standard_error)


def concatenate(first: OutcomeMatrix, second: OutcomeMatrix) -> OutcomeMatrix:
    """The rows of both, which must have the same candidates in the same order."""
    assert first.candidates == second.candidates, "candidates differ"
    matrices = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in (
            "reward",
            "prompt_tokens",
            "completion_tokens",
            "cost_usd",
            "n_samples",
            "truncated",
        )
    }
    answers = None
    if first.answers is not None and second.answers is not None:
        answers = pl.concat([first.answers, second.answers])
    queries = pl.concat([first.queries, second.queries])
    return replace(first, queries=queries, answers=answers, **matrices)

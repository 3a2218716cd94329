"""Choosing a method's settings on validation, and fitting it on train + validation."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.plugins import load_plugin
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


def fit_method(name: str, *, train: OutcomeMatrix, validation: OutcomeMatrix, seed: int) -> Fit:
    """Choose among the method's grid, then fit on train + validation.

    Chosen is the simplest within one paired standard error of the best. With a single entry in
    the grid, or no validation rows, nothing is tried: it is the entry, or the default.

    Raises:
        InputError: the method is not installed, or there is nothing to fit on.
    """
    method = load_plugin("routers", name=name)
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"router '{name}' is {method!r}, expected a subclass of Method")
    grid = method.grid()
    usable = validation.take(np.flatnonzero(validation.mask.any(axis=1)))
    trials: tuple[Trial, ...] = ()
    chosen = grid[0] if len(grid) == 1 else method()
    if len(grid) > 1 and len(usable):
        trials = try_all(grid, train=train, validation=usable, seed=seed)
        chosen = simplest_near_best(trials)
    router = chosen.fit(concatenate(train, validation), seed=seed)
    return Fit(router=router, settings=chosen, trials=trials)


def try_all(
    grid: list[Method], *, train: OutcomeMatrix, validation: OutcomeMatrix, seed: int
) -> tuple[Trial, ...]:
    """Fit every entry on train, and value its choices on validation."""
    routers = type(grid[0]).fit_each(grid, outcomes=train, seed=seed)
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
    return replace(first, queries=pl.concat([first.queries, second.queries]), **matrices)

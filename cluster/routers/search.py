"""Trying settings: on validation rows, or out of fold, where every row judges once.

Chosen is the simplest within one paired standard error of the best (Breiman et al. 1984,
section 3.4.3, paired by query).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.encoders.encoder import Encoder, load_encoder
from cluster.errors import InputError
from cluster.folds import Folds
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext, tell_nobody
from cluster.routers.encoded import EncodedMethod, fit_encoder
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.router import Method, Router
from cluster.routers.strong_weak import on_candidates
from cluster.routers.worth import EARNED, JUDGED, worth

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One of the settings, tried on rows it was not fitted on.

    Attributes:
        settings: the method with its settings.
        macro_reward: macro mean of what settings are judged by (`cluster.routers.worth`): reward
            of the best-quality policy; for a pair, over all shares of strong calls.
        shortfall: how far it is behind the best trial.
        standard_error: of the shortfall, paired by query; 0 for the best.
    """

    settings: Method
    macro_reward: float
    shortfall: float
    standard_error: float


@dataclass(frozen=True)
class Part:
    """What one fit of a cross-validation does: settings that share work, without one fold."""

    places: tuple[int, ...]
    fold: int


def validation_rewards(
    grid: Sequence[Method],
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext = ALONE,
) -> FloatMatrix:
    """(2, n_settings, n_validation): `worth` of what each entry, fitted on train, chooses there."""
    routers = type(grid[0]).fit_each(grid, outcomes=train, seed=seed, context=context)
    return worth_of_each(grid, routers, outcomes=validation)


def out_of_fold_rewards(
    grid: Sequence[Method],
    *,
    outcomes: OutcomeMatrix,
    folds: Folds,
    seed: int,
    context: FitContext = ALONE,
) -> FloatMatrix:
    """(2, n_settings, n_queries): `worth` of each entry's choice, fitted without the query's fold.

    Runs on Ray where this process has joined a cluster, a CPU a fit, and in this process
    otherwise; the result is the same. All NaN where all rows are in one fold.

    Args:
        grid: settings of one method, the simplest first.
        outcomes: the rows.
        folds: (n_queries,), the fold of each.
        seed: of everything random.
        context: where it runs.

    Raises:
        InputError: no rows, or a candidate without a reward.
    """
    require_rewards(outcomes)
    values = np.full((2, len(grid), len(outcomes)), np.nan)
    if len(np.unique(folds)) < 2:
        return values
    parts = list(_parts(grid, folds=folds))
    if ray_is_up():
        remember(grid, fitted_on=outcomes, seed=seed, context=context)
        found = _on_ray(grid, parts, outcomes=outcomes, folds=folds, seed=seed, context=context)
    else:
        found = [
            fold_rewards(
                [grid[place] for place in part.places],
                outcomes=outcomes,
                held_out=folds == part.fold,
                seed=seed,
                context=context,
            )
            for part in parts
        ]
    for part, rewards in zip(parts, found, strict=True):
        values[np.ix_((JUDGED, EARNED), part.places, folds == part.fold)] = rewards
    return values


def fold_rewards(
    settings: Sequence[Method],
    *,
    outcomes: OutcomeMatrix,
    held_out: npt.NDArray[np.bool_],
    seed: int,
    context: FitContext = ALONE,
) -> FloatMatrix:
    """(2, n_settings, n_held_out): `worth` of what each chooses, fitted on the other rows.

    NaN where a query has no reward, or none of a candidate that the other rows know.
    """
    rest, asked = outcomes.take(~held_out), outcomes.take(held_out)
    known = np.asarray(rest.mask.any(axis=0))
    if not known.any():
        return np.full((2, len(settings), len(asked)), np.nan)
    columns = np.flatnonzero(known).tolist()
    rest, asked = on_candidates(rest, columns), on_candidates(asked, columns)
    routers = type(settings[0]).fit_each(settings, outcomes=rest, seed=seed, context=context)
    return worth_of_each(settings, routers, outcomes=asked)


def worth_of_each(
    grid: Sequence[Method], routers: Sequence[Router], *, outcomes: OutcomeMatrix
) -> FloatMatrix:
    """(2, n_settings, n_queries): `cluster.routers.worth.worth` of each."""
    pairs = zip(grid, routers, strict=True)
    return np.stack([worth(settings, router, outcomes) for settings, router in pairs], axis=1)


def judge(
    grid: Sequence[Method], *, values: FloatMatrix, tasks: npt.NDArray[np.str_]
) -> tuple[Trial, ...]:
    """The trials behind (n_settings, n_queries) values of what each of the settings chose.

    Queries of which a value is NaN do not count; without any other there are no trials.
    """
    known = ~np.isnan(values).any(axis=0)
    if not known.any():
        return ()
    values, tasks = values[:, known], tasks[known]
    macro = [float(macro_means(value[:, None], tasks)[0]) for value in values]
    best = values[int(np.argmax(macro))]
    return tuple(
        Trial(settings, mean, *paired_shortfall(best - value, tasks))
        for settings, mean, value in zip(grid, macro, values, strict=True)
    )


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


def _parts(grid: Sequence[Method], *, folds: Folds) -> Iterator[Part]:
    """A fit for every fold and every group of settings that share work."""
    groups: dict[str, list[int]] = {}
    for place, settings in enumerate(grid):
        groups.setdefault(_shared_work(settings, place=place), []).append(place)
    for places in groups.values():
        for fold in np.unique(folds).tolist():
            yield Part(tuple(places), fold)


def _shared_work(settings: Method, *, place: int) -> str:
    """Equal for settings that are faster fitted together: on one encoder, or as a method says."""
    if isinstance(settings, EncodedMethod):
        return encoders_of(settings)[0].spec_id
    shares = type(settings).fit_each.__func__ is not Method.fit_each.__func__  # type: ignore[attr-defined]
    return "all" if shares else str(place)


def encoders_of(settings: Method) -> list[Encoder]:
    """The encoders a method is set to use; none for a method that has none.

    Raises:
        InputError: one is not installed, or does not take a setting.
    """
    named = settings.model_dump()
    if "encoder" not in named:
        return []
    first = load_encoder(named["encoder"], **named.get("encoder_settings", {}))
    more = named.get("more_encoders", {})
    return [first, *(load_encoder(name, **own) for name, own in more.items())]


def remember(
    grid: Sequence[Method],
    *,
    fitted_on: OutcomeMatrix,
    asked: Sequence[OutcomeMatrix] = (),
    seed: int,
    context: FitContext,
) -> None:
    """Ask slow encoders once for all texts: what is in memory travels to every worker."""
    used = {encoder.spec_id: encoder for settings in grid for encoder in encoders_of(settings)}
    for encoder in used.values():
        if encoder.is_slow:
            fitted = fit_encoder(encoder, outcomes=fitted_on, seed=seed, context=context)
            for part in (fitted_on, *asked):
                fitted.encode(part.texts)


def ray_is_up() -> bool:
    """Whether this process has joined a cluster; Ray is not imported for the question."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _on_ray(
    grid: Sequence[Method],
    parts: Sequence[Part],
    *,
    outcomes: OutcomeMatrix,
    folds: Folds,
    seed: int,
    context: FitContext,
) -> list[FloatMatrix]:
    """`fold_rewards` of every part, each as a task of its own."""
    import ray

    fit: Callable[..., FloatMatrix] = fold_rewards
    task = ray.remote(num_cpus=1)(fit)
    shared = ray.put(outcomes)
    # Whom to tell, and where to train, are this process's business.
    remembered = ray.put(FitContext(memory=context.memory, tell=tell_nobody))
    fits = [
        task.remote(
            [grid[place] for place in part.places],
            outcomes=shared,
            held_out=folds == part.fold,
            seed=seed,
            context=remembered,
        )
        for part in parts
    ]
    try:
        found: list[FloatMatrix] = ray.get(fits)
    except InputError as error:
        raise plainly(error) from None
    return found


def plainly(error: InputError) -> InputError:
    """What a task refused, in its own words: Ray puts the worker's traceback around them."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, InputError) else error

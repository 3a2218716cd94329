"""Training a method with each of several settings: one after another, or as tasks on Ray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.query import digest
from cluster.routers.context import FitContext, tell_nobody
from cluster.routers.gradient import GradientMethod, Trained
from cluster.routers.search import plainly, ray_is_up, remember
from cluster.state import State


@dataclass(frozen=True)
class Parcel:
    """What was trained, as it travels between processes.

    Attributes:
        state: of the router.
        candidates: of the router.
        history: of the training.
    """

    state: State
    candidates: tuple[str, ...]
    history: pl.DataFrame


def train_each(
    grid: Sequence[GradientMethod],
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext,
) -> list[Trained]:
    """Each of the settings trained; the result is the same wherever it runs.

    On Ray, a CPU a training, where this process has joined a cluster without a GPU and a training
    has no workers of its own; a GPU is for one training after another, in this process.

    Raises:
        InputError: one of them cannot be trained.
    """
    if len(grid) > 1 and not context.workers and ray_is_up() and not _has_gpu():
        remember(grid, fitted_on=train, asked=[validation], seed=seed, context=context)
        return _on_ray(grid, train=train, validation=validation, seed=seed, context=context)
    return [
        train_one(settings, train=train, validation=validation, seed=seed, context=context)
        for settings in grid
    ]


def train_one(
    settings: GradientMethod,
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext,
) -> Trained:
    """Trained under a name of its own: settings are resumed by name."""
    own = digest([settings.name, settings.model_dump_json()])[:8]
    named = replace(context, name=f"{context.name}-{own}" if context.name else "")
    return settings.train(train, validation=validation, seed=seed, context=named)


def packed(
    settings: GradientMethod,
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext,
) -> Parcel:
    """Trained elsewhere and made ready to travel; what one texts' vectors are stays there."""
    found = train_one(settings, train=train, validation=validation, seed=seed, context=context)
    return Parcel(found.router.state(), found.router.candidates, found.history)


def _has_gpu() -> bool:
    import ray

    return bool(ray.cluster_resources().get("GPU", 0.0))


def _on_ray(
    grid: Sequence[GradientMethod],
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    seed: int,
    context: FitContext,
) -> list[Trained]:
    """`train_one` of every entry, each as a task of its own."""
    import ray

    work: Callable[..., Parcel] = packed
    task = ray.remote(num_cpus=1)(work)
    # Whom to tell is this process's business.
    shared = [ray.put(part) for part in (train, validation, replace(context, tell=tell_nobody))]
    running = [
        task.remote(settings, train=shared[0], validation=shared[1], seed=seed, context=shared[2])
        for settings in grid
    ]
    try:
        parcels: list[Parcel] = ray.get(running)
    except InputError as error:
        # The others are not cancelled: Ray 2.60 ends this process, by a failed check of its own,
        # where a task is cancelled in the moment in which it completes.
        raise plainly(error) from None
    return [
        Trained(
            settings.reopened(parcel.state, candidates=parcel.candidates, context=context),
            parcel.history,
        )
        for settings, parcel in zip(grid, parcels, strict=True)
    ]

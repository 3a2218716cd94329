"""Running the loop: in this process, or on Ray Train workers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cluster.errors import InputError
from cluster.routers.context import FitContext
from cluster.routers.router import Tensors
from cluster.training.examples import VECTORS, Examples
from cluster.training.kept import Kept
from cluster.training.loop import Place, Progress, train_network
from cluster.training.memory import freed_memory_kept
from cluster.training.network import Network
from cluster.training.plan import Plan


def run_training(
    plan: Plan,
    *,
    train: Examples,
    validation: Examples,
    context: FitContext,
    start: Tensors | None = None,
) -> tuple[Tensors, list[dict[str, Any]]]:
    """Train a network; its best weights by name, and the loop's notes.

    Args:
        plan: the network.
        train, validation: the rows.
        context: where it is trained.
        start: weights by name that it goes on from, the plan's `start` being their digest; nothing
            for those it is built with.

    Raises:
        InputError: the workers cannot share the batches evenly, or the weights went to infinity.
    """
    if context.workers:
        from cluster.training.ray_trainer import run_on_ray

        weights, notes = run_on_ray(
            plan, train=train, validation=validation, context=context, start=start or {}
        )
    else:
        weights, notes = run_here(
            plan, train=train, validation=validation, context=context, start=start or {}
        )
    if not weights:
        raise InputError(
            f"training '{plan.method}' diverged: after no epoch were its scores finite; lower "
            "learning_rate, or look for rewards that are not finite"
        )
    return weights, notes


def run_here(
    plan: Plan, *, train: Examples, validation: Examples, context: FitContext, start: Tensors
) -> tuple[Tensors, list[dict[str, Any]]]:
    """As `run_training`, in this process, whose random numbers stay as they were.

    A run that was killed goes on from its last kept epoch.
    """
    settings = plan.spelled_out()
    kept = Kept.of(plan, train=train, validation=validation, context=context)

    def saved(network: Network, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        kept.keep(network, optimizer=optimizer, progress=progress)
        context.tell({"method": plan.method, "epochs": settings.epochs, **progress.told})

    network = begun(plan, start=start)
    with torch.random.fork_rng(devices=[]), threads_for(train), freed_memory_kept():
        progress = train_network(
            network,
            train=train,
            validation=validation,
            settings=settings,
            seed=plan.seed,
            place=Place(device=device_for(train), saved=saved),
            resume=kept.resume,
        )
    return as_arrays(progress.best), progress.notes


def begun(plan: Plan, *, start: Mapping[str, Any]) -> Network:
    """The network with the weights it begins with: those in `start`, or its own."""
    network: Network = plan.build()
    if start:
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in start.items()})
    return network


def device_for(examples: Examples) -> torch.device:
    """Where rows are trained on in this process: texts on a GPU if there is one.

    A head on vectors is too small to gain by it.
    """
    on_gpu = VECTORS not in examples.inputs and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


@contextmanager
def threads_for(examples: Examples) -> Iterator[None]:
    """One thread for a head on vectors: its matrices are so small that two take twice the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if VECTORS in examples.inputs else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_arrays(weights: dict[str, torch.Tensor]) -> Tensors:
    """Weights as arrays on the CPU, fp32."""
    return {name: np.array(weight.float().cpu().numpy()) for name, weight in weights.items()}

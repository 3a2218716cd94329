"""A stack: each of its parts takes the newcomer up, and the weights stay."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.routers.newcomer.own_part import add_macro_mean, own_parts
from cluster.routers.newcomer.take_up import with_candidate
from cluster.routers.router import Router

if TYPE_CHECKING:
    from cluster.routers.stack import StackRouter


def add_to_stack(
    router: "StackRouter", candidate: str, *, probe: OutcomeMatrix, seed: int
) -> "StackRouter":
    """The parts and the means with one more candidate.

    Raises:
        InputError: a part cannot take it up.
    """
    told = own_parts(router, candidate, probe=probe)
    return type(router)(
        (*router.candidates, candidate),
        encoder=router.encoder,
        parts=[_added(part, candidate, probe=probe, seed=seed) for part in router.parts],
        weights=replace(router.weights, n_later=router.weights.n_later + 1),
        means=np.stack(
            [
                add_macro_mean(means, part=own, probe=probe)
                for means, own in zip(router.means, told, strict=True)
            ]
        ),
    )


def _added(part: Router, candidate: str, *, probe: OutcomeMatrix, seed: int) -> Router:
    try:
        return with_candidate(part, candidate, probe=probe, seed=seed)
    except InputError as error:
        raise InputError(f"stack, part '{part.method}': {error}") from error

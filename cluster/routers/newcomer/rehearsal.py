"""What would keep a newcomer out of a router, told before it has answered a single query."""

from dataclasses import replace
from typing import Any

import numpy as np

from cluster.outcome import MATRICES, FloatMatrix, OutcomeMatrix
from cluster.routers.newcomer.own_part import levels
from cluster.routers.newcomer.take_up import with_candidate
from cluster.routers.router import Router


def rehearse(router: Router, candidate: str, *, known: OutcomeMatrix) -> None:
    """Take a candidate up that does as well as the others on average, and forget it.

    Args:
        router: that a candidate is to join.
        candidate: its name.
        known: outcomes of the router's candidates on the queries that would be the probe.

    Raises:
        InputError: as `with_candidate`.
    """

    def with_average(values: FloatMatrix) -> FloatMatrix:
        return np.column_stack([values, levels(values)])

    if candidate not in known.candidates:
        own: dict[str, Any] = {name: with_average(getattr(known, name)) for name in MATRICES}
        names, ids = (*known.candidates, candidate), (*known.candidate_ids, candidate)
        known = replace(known, candidates=names, candidate_ids=ids, answers=None, **own)
    with_candidate(router, candidate, probe=known)

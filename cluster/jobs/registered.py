"""Registered routers that are measured as they are: none on queries it was fitted on."""

import logging
from collections.abc import Mapping

import numpy as np

from cluster.errors import InputError
from cluster.jobs.kept_outcomes import fitted_on
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.outcome import OutcomeMatrix
from cluster.routers.near_duplicates import near_duplicates

LOG = logging.getLogger("signalbox.evaluate")
# Name → (version, checkpoint).
Registered = Mapping[str, tuple[str, str]]


def without_seen(
    test: OutcomeMatrix, *, routers: Registered, lake: Lake
) -> tuple[OutcomeMatrix, dict[str, int]]:
    """The rows that no router was fitted on or on nearly the same, and by router how many were.

    They are left out for all, as what is compared is measured on the same rows.

    Raises:
        InputError: none is left.
    """
    seen = {name: seen_by(uri, test=test, lake=lake) for name, (_, uri) in routers.items()}
    known = np.zeros(len(test), dtype=bool)
    for name, rows in seen.items():
        known |= rows
        if rows.any():
            LOG.warning("%d queries nearly repeat what '%s' was fitted on", rows.sum(), name)
    if known.any() and known.all():
        names = ", ".join(name for name, rows in seen.items() if rows.any())
        raise InputError(
            f"every test query nearly repeats one that {names} was fitted on, so nothing can be "
            "told of it here: measure it on other queries"
        )
    return test.take(~known), {name: int(rows.sum()) for name, rows in seen.items() if rows.any()}


def seen_by(
    checkpoint: str, *, test: OutcomeMatrix, lake: Lake
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(n_test,): whether a query nearly repeats one that a router was fitted on."""
    own = fitted_on(checkpoint, lake=lake)
    if own is None:
        LOG.warning("%s: what it was fitted on is not kept; leaks cannot be told", checkpoint)
        return np.zeros(len(test), dtype=bool)
    texts = (
        lake.scan(QUERIES)
        .select("query_id", "text")
        .join(own.lazy().select("query_id"), on="query_id", how="semi")
    )
    return near_duplicates(test.texts, held_out=texts.collect()["text"])

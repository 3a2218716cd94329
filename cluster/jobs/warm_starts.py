"""Which methods of a training go on from an earlier version of themselves."""

import logging
from collections.abc import Mapping

import polars as pl

from cluster.jobs.fitting import lesson_of
from cluster.jobs.kept_outcomes import fitted_on
from cluster.jobs.prepared import Prepared
from cluster.lake.lake import Lake
from cluster.routers.checkpoint import load_checkpoint
from cluster.routers.fit import load_method
from cluster.routers.settings import GivenSettings
from cluster.routers.warm import Start, why_cold

LOG = logging.getLogger("signalbox.train")


def warm_starts(
    versions: Mapping[str, tuple[str, str]], *, data: Prepared, given: GivenSettings
) -> tuple[dict[str, Start], dict[str, str]]:
    """By method: what it goes on from, and in words how it begins.

    Args:
        versions: method → version and checkpoint of the newest router of it.
        data: what it is trained on.
        given: settings that are fixed.
    """
    starts, words = {}, {}
    for method, (version, checkpoint) in versions.items():
        loaded = load_checkpoint(checkpoint, version=version)
        router, settings = loaded.router, loaded.meta.settings
        start = Start(version, router.candidates, settings, router.state())
        fixed, lesson = lesson_of(method, data=data, given=given)
        why = why_cold(
            start,
            method=load_method(method),
            fixed=fixed,
            candidates=lesson.train.candidates,
        )
        if not why:
            starts[method] = start
        words[method] = f"anew: {why}" if why else f"from {version[:12]}"
        LOG.info("%s begins %s", method, words[method])
    return starts, words


def with_ancestors(taught: pl.DataFrame, *, checkpoint: str, lake: Lake) -> pl.DataFrame:
    """What a router was fitted on, with the queries of the version it went on from.

    So nothing is measured later on what only that one has seen. `taught` and the result are as
    `outcomes_frame`; the rewards of such queries are null.
    """
    before = fitted_on(checkpoint, lake=lake)
    if before is None:
        return taught
    only = before.join(taught, on="query_id", how="anti").select("query_id", "split")
    return pl.concat([taught, only], how="diagonal")

"""The drift job: are the queries since the champion's training like those it was trained on?"""

from dataclasses import asdict
from typing import ClassVar

import polars as pl

from cluster.drift.counts import count_rows
from cluster.drift.drift import UNKNOWN, drift
from cluster.drift.kept import profile_of
from cluster.jobs.kept_outcomes import fitted_on
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import LEARNED
from cluster.lake.tables import QUERIES
from cluster.query import digest
from cluster.routers.checkpoint import load_checkpoint

# What a slow encoder places in some ten minutes, and shares are known to a hundredth by.
MOST_QUERIES = 20_000


class DriftSpec(JobSpec):
    """What to compare.

    Attributes:
        datasets: whose queries.
        router: version and checkpoint of the champion.
        inputs: versions of the tables read.
    """

    job: ClassVar[str] = "drift"

    datasets: tuple[str, ...]
    router: tuple[str, str]
    inputs: dict[str, int]


def since(spec: DriftSpec, run: Run) -> Manifest:  # noqa: ARG001
    """Compare the queries of the splits that are learned from, those the champion knows left out.

    A routed query stands for as many as it was drawn from. The manifest's `drift` is None where
    nothing can be told, and `words` say what was found or why not.
    """
    lake = Lake.open(spec.lake)
    version, uri = spec.router
    profile = profile_of(load_checkpoint(uri, version=version))
    queries = new_queries(lake, checkpoint=uri, spec=spec)
    told = {"outputs": [], "router": version, "queries": queries.height, "drift": None}
    if profile is None:
        return told | {"words": UNKNOWN, "alarms": []}
    if queries.is_empty():
        words = "no query has come since the champion was trained"
        return told | {"words": words, "alarms": []}
    weight = (1.0 / queries["sampling_probability"]).to_numpy()
    counts, _ = count_rows(queries["text"], profile=profile, weight=weight)
    found = drift(counts, profile=profile)
    assert found is not None, "rows were looked at"
    words = "; ".join(found.alarms) or "they are like those the router was trained on"
    return told | {"drift": asdict(found), "words": words, "alarms": list(found.alarms)}


def new_queries(lake: Lake, *, checkpoint: str, spec: DriftSpec) -> pl.DataFrame:
    """`text`, `sampling_probability` of the queries the router was not fitted on, at most
    `MOST_QUERIES`, drawn by their ids."""
    rows = lake.scan(QUERIES, version=spec.inputs[QUERIES.name]).filter(
        pl.col("dataset").is_in(list(spec.datasets)) & pl.col("split").is_in(list(LEARNED))
    )
    known = fitted_on(checkpoint, lake=lake)
    if known is not None:
        rows = rows.join(known.lazy().select("query_id"), on="query_id", how="anti")
    drawn = rows.select("query_id", "text", "sampling_probability").collect()
    if drawn.height > MOST_QUERIES:
        lots = pl.Series("lot", [digest(["drift", one])[:12] for one in drawn["query_id"]])
        drawn = drawn.with_columns(lots).sort("lot").head(MOST_QUERIES)
    return drawn.sort("query_id").select("text", "sampling_probability")


if __name__ == "__main__":
    main(DriftSpec, work=since)

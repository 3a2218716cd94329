"""The drift job: what has come since a router was trained, against what it was trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster.drift.fit import fit_profile
from cluster.drift.kept import profile_files
from cluster.jobs.drift import DriftSpec, since
from cluster.jobs.kept_outcomes import keep_outcomes
from cluster.jobs.run import Run
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint

TRAINED = {"sums": 0.5, "law": 0.5}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def do(lake: Lake, queries: Any) -> Any:
    """`do(mix)`: what the job says of 300 queries of that mix, beside those of training."""
    trained = queries(TRAINED, n=600, seed=1)
    put(lake, trained, dataset="own")
    means = np.array([0.4, 0.6])
    router = BestSingleRouter(("a", "b"), reward=means, completion_tokens=means)
    profile = fit_profile(trained, encoder=None, seed=0)
    uri = lake.storage.join("checkpoints", "one")
    meta = CheckpointMeta(candidate_ids=("a", "b"))
    version = save_checkpoint(router, uri, meta=meta, beside=profile_files(profile))
    keep_outcomes(trained.select("query_id", split=pl.lit("train")), checkpoint=uri, lake=lake)

    def run(mix: dict[str, float] | None, *, dataset: str = "own") -> dict[str, Any]:
        if mix is not None:
            put(lake, queries(mix, n=300, seed=2), dataset=dataset)
        spec = DriftSpec(
            lake=lake.storage.uri,
            datasets=("own", "routed"),
            router=(version, uri),
            inputs=lake.versions((QUERIES,)),
        )
        return since(spec, Run.of(spec))

    return run


def put(lake: Lake, queries: pl.DataFrame, *, dataset: str) -> None:
    rows = queries.with_columns(dataset=pl.lit(dataset), split=pl.lit("train"))
    append_new(QUERIES.conform(rows).collect(), lake=lake, table=QUERIES)


def test_the_same_kinds_are_no_drift(do: Any) -> None:
    told = do(TRAINED)
    assert told["queries"] == 300
    assert told["alarms"] == []
    assert "like those" in told["words"]


def test_other_kinds_are_told_of_whichever_of_the_datasets_they_came_to(do: Any) -> None:
    told = do({"space": 0.6, "law": 0.4}, dataset="routed")
    assert told["queries"] == 300
    assert told["alarms"]
    assert told["drift"]["psi"] > 0.25


def test_nothing_that_came_is_no_drift_and_other_datasets_do_not_count(do: Any) -> None:
    told = do({"space": 1.0}, dataset="elsewhere")
    assert (told["queries"], told["drift"], told["alarms"]) == (0, None, [])
    assert "no query has come" in told["words"]

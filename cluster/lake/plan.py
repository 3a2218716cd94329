"""What is still to be generated, by keys and not by position: required − committed − staged."""

from dataclasses import dataclass

import polars as pl

from cluster.lake.commit import commit_shards
from cluster.lake.lake import Lake
from cluster.lake.shard import staged_shards
from cluster.lake.tables import COMPLETIONS

KEY = ["query_id", "sample"]


@dataclass(frozen=True)
class Plan:
    """Work left for one candidate.

    Attributes:
        candidate_id: whose answers.
        required: rows (query, sample) that were asked for.
        adopted: rows taken over from staged shards of an earlier run.
        errors: rows that are committed as errors.
        missing: `query_id`, `sample`, in a fixed order.
    """

    candidate_id: str
    required: int
    adopted: int
    errors: int
    missing: pl.DataFrame


def required_samples(query_ids: pl.Series, *, samples: int) -> pl.DataFrame:
    """Every (query, sample number) that `samples` answers a query ask for."""
    numbers = pl.DataFrame({"sample": pl.Series(range(samples), dtype=pl.Int32)})
    return pl.DataFrame({"query_id": query_ids.unique(maintain_order=True)}).join(
        numbers, how="cross"
    )


def plan_candidate(
    required: pl.DataFrame, *, lake: Lake, candidate_id: str, adopt: bool = True
) -> Plan:
    """Adopt what a killed run left, then compare with what is committed.

    Args:
        required: `query_id`, `sample`.
        lake: the lake.
        candidate_id: whose answers.
        adopt: take over what is staged; not where this very run has staged it.
    """
    adopted = []
    if adopt:
        staged = staged_shards(lake, table=COMPLETIONS, partition=candidate_id)
        adopted = commit_shards(staged, lake=lake, table=COMPLETIONS)
    committed = committed_answers(required, lake=lake, candidate_id=candidate_id)
    failed = committed.filter(pl.col("outcome") == "error")
    return Plan(
        candidate_id=candidate_id,
        required=required.height,
        adopted=sum(shard.rows for shard in adopted),
        errors=failed.height,
        missing=required.join(committed, on=KEY, how="anti", maintain_order="left"),
    )


def committed_answers(required: pl.DataFrame, *, lake: Lake, candidate_id: str) -> pl.DataFrame:
    """`query_id`, `sample`, `outcome` of what a candidate has of the required rows, and no more: it
    may have answered far more than fits."""
    return (
        lake.scan(COMPLETIONS)
        .filter(pl.col("candidate_id") == candidate_id)
        .select(*KEY, "outcome")
        .join(required.lazy(), on=KEY, how="semi")
        .collect(engine="streaming")
    )

"""What is known of candidates beside their ids: the newest name and spec of each."""

import json
import secrets

import polars as pl
from deltalake import DeltaTable

from cluster.lake.commit import commit_on_handle
from cluster.lake.lake import Lake, scan_handle
from cluster.lake.shard import Shard, write_shard
from cluster.lake.tables import CANDIDATES


def newest_specs(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of `candidates` that hold now: `candidate_id`, `name`, `spec`, one an id.

    A candidate that is collected again under another name, with another price or from another
    folder is the same candidate (its answers are the same) with a newer spec.
    """
    newest = rows.sort("sequence", "candidate_id").unique(
        "candidate_id", keep="last", maintain_order=True
    )
    return newest.select("candidate_id", "name", "spec")


def long_name(name: str, *, candidate_id: str) -> str:
    """What a candidate is called where several share its name: with other settings, say."""
    return f"{name}@{candidate_id[:8]}"


def imported_ids(lake: Lake) -> set[str]:
    """Ids of the candidates whose answers came with a table: no engine of ours can ask them."""
    specs = newest_specs(lake.scan(CANDIDATES)).select("candidate_id", "spec").collect()
    return {key for key, spec in specs.iter_rows() if "imported" in json.loads(spec)}


def keep_specs(specs: pl.DataFrame, *, lake: Lake) -> None:
    """Append the specs (`candidate_id`, `name`, `spec`) that differ from what holds now."""

    def changed(handle: DeltaTable) -> list[Shard]:
        rows = scan_handle(handle, table=CANDIDATES)
        known = newest_specs(rows).collect()
        fresh = specs.unique("candidate_id").join(known, on=known.columns, how="anti")
        if fresh.is_empty():
            return []
        number = (rows.select(pl.col("sequence").max()).collect().item() or 0) + 1
        numbered = fresh.with_columns(sequence=pl.lit(number, dtype=pl.Int64))
        name = f"rows-{secrets.token_hex(16)}.parquet"
        return [write_shard(numbered, lake=lake, table=CANDIDATES, name=name)]

    commit_on_handle(changed, lake=lake, table=CANDIDATES, scope="candidates/all")

"""A lake of the version before this one: opened, it has the columns its tables lacked."""

import json
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from cluster.lake.commit import append_new, commit_shards
from cluster.lake.lake import MARKER, Lake
from cluster.lake.shard import staged_shards
from cluster.lake.tables import COMPLETIONS, REWARDS, SCHEMA_VERSION, Table

SINCE = {
    REWARDS.name: ["raw", "reason"],
    COMPLETIONS.name: ["gpu_seconds", "gpu_cost_usd", "served_model", "first_logprobs"],
}
REWARD = {"query_id": "q", "candidate_id": "c", "sample": 0, "scorer_id": "s", "value": 1.0}
ANSWER = {"query_id": "q", "candidate_id": "c", "sample": 0, "text": "a", "outcome": "ok"}


def old(table: Table, row: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([row], schema=table.schema).drop(SINCE[table.name])


def old_lake(root: str) -> Lake:
    """As version 1 wrote it: a table of rewards and one of completions, one row each."""
    lake = Lake.open(root)
    for table, row in ((REWARDS, REWARD), (COMPLETIONS, ANSWER)):
        rows = old(table, row)
        DeltaTable.create(
            lake.table_uri(table),
            schema=rows.to_arrow(compat_level=pl.CompatLevel.oldest()).schema,
            partition_by=[table.partition] if table.partition else None,
            storage_options=lake.storage.delta_options(),
        )
        rows.write_delta(
            lake.table_uri(table), mode="append", storage_options=lake.storage.delta_options()
        )
    lake.storage.write(lake.storage.join(MARKER), json.dumps({"schema_version": 1}).encode())
    return lake


def test_an_older_lake_gets_the_columns_and_keeps_its_rows(root: str) -> None:
    old_lake(root)
    lake = Lake.open(root, create=False)
    marker = json.loads(lake.storage.read_bytes(lake.storage.join(MARKER)))
    assert marker["schema_version"] == SCHEMA_VERSION
    assert lake.read(REWARDS).to_dicts() == [REWARD | {"weight": None, "raw": None, "reason": None}]
    newer = pl.DataFrame([REWARD | {"query_id": "r", "reason": "why"}], schema=REWARDS.schema)
    assert append_new(newer, lake=lake, table=REWARDS) == 1
    assert sorted(lake.read(REWARDS)["reason"].to_list(), key=str) == [None, "why"]
    assert Lake.open(root).read(COMPLETIONS)["gpu_seconds"].to_list() == [None]


def test_a_version_from_before_still_reads(root: str) -> None:
    old_lake(root)
    lake = Lake.open(root)
    assert lake.version(REWARDS) > 1
    assert lake.scan(REWARDS, version=1).select("value", "reason").collect().rows() == [(1.0, None)]


def test_a_migration_that_was_killed_before_its_marker_is_done_again(root: str) -> None:
    lake = old_lake(root)
    Lake.open(root)
    lake.storage.write(lake.storage.join(MARKER), json.dumps({"schema_version": 1}).encode())
    assert Lake.open(root).read(REWARDS).height == 1


@pytest.mark.parametrize("root", ["local"], indirect=True)
def test_what_a_killed_run_of_the_older_version_staged_is_adopted(root: str) -> None:
    old_lake(root)
    folder = Path(root) / "completions" / "candidate_id=c"
    staged = old(COMPLETIONS, ANSWER | {"query_id": "p"}).drop("candidate_id")
    staged.write_parquet(folder / "shard-old.parquet")
    lake = Lake.open(root)
    commit_shards(
        staged_shards(lake, table=COMPLETIONS, partition="c"), lake=lake, table=COMPLETIONS
    )
    assert sorted(lake.read(COMPLETIONS)["query_id"]) == ["p", "q"]

"""Shards: created once, named after their keys, checked before they count."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import LakeError
from cluster.lake.lake import Lake
from cluster.lake.shard import (
    ADOPTABLE,
    read_keys,
    read_shard,
    shard_if_there,
    shard_name,
    staged_shards,
    write_shard,
)
from cluster.lake.tables import COMPLETIONS, TAGS

KEYS = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), unique=True, max_size=6)


def frame_of(keys: list[tuple[str, int]]) -> pl.DataFrame:
    schema = {"query_id": pl.String, "sample": pl.Int32}
    return pl.DataFrame(keys, schema=schema, orient="row")


def answers(*ids: str) -> pl.DataFrame:
    rows = pl.DataFrame({"query_id": ids, "candidate_id": "c", "sample": 0, "outcome": "ok"})
    missing = [name for name in COMPLETIONS.schema if name not in rows.columns]
    return rows.with_columns(pl.lit(None).alias(name) for name in missing)


@given(KEYS, st.randoms())
def test_the_name_is_that_of_the_keys_in_any_order(keys, random) -> None:
    shuffled = random.sample(keys, len(keys))
    assert shard_name(frame_of(keys)) == shard_name(frame_of(shuffled))
    assert shard_name(frame_of(keys)).startswith(ADOPTABLE)


@given(KEYS, KEYS)
def test_other_keys_have_another_name(one, other) -> None:
    same = shard_name(frame_of(one)) == shard_name(frame_of(other))
    assert same == (set(one) == set(other))


def test_a_shard_says_what_is_inside(root: str) -> None:
    lake = Lake.open(root)
    shard = write_shard(answers("a", "b"), lake=lake, table=COMPLETIONS, partition="c")
    uri = f"{lake.table_uri(COMPLETIONS)}/{shard.path}"
    assert read_shard(uri, lake=lake, table=COMPLETIONS) == shard
    assert (shard.rows, shard.partition) == (2, "c")
    assert shard.size == len(lake.storage.read_bytes(uri))
    [keys] = read_keys([shard], lake=lake, table=COMPLETIONS)
    assert keys.rows() == [("a", "c", 0), ("b", "c", 0)]
    name = shard.path.rsplit("/", 1)[-1]
    assert shard_if_there(name, lake=lake, table=COMPLETIONS, partition="c") == shard
    assert shard_if_there(name, lake=lake, table=COMPLETIONS, partition="d") is None


def test_a_table_without_partitions_has_its_shards_in_its_folder(root: str) -> None:
    lake = Lake.open(root)
    rows = pl.DataFrame({"query_id": ["a"], "tagger_id": ["t"], "tag": ["x"]})
    shard = write_shard(rows, lake=lake, table=TAGS)
    assert "/" not in shard.path
    [keys] = read_keys([shard], lake=lake, table=TAGS)
    assert keys.rows() == [("a", "t", "x")]


def test_only_finished_shards_of_workers_are_staged(root: str) -> None:
    lake = Lake.open(root)
    shard = write_shard(answers("a"), lake=lake, table=COMPLETIONS, partition="c")
    write_shard(answers("b"), lake=lake, table=COMPLETIONS, partition="c", name="errors-1.parquet")
    folder = f"{lake.table_uri(COMPLETIONS)}/candidate_id=c"
    lake.storage.write(f"{folder}/.{ADOPTABLE}half.parquet.abc", b"PAR1")
    assert staged_shards(lake, table=COMPLETIONS, partition="c") == [shard]


def test_a_damaged_staged_shard_is_named(root: str) -> None:
    lake = Lake.open(root)
    uri = f"{lake.table_uri(COMPLETIONS)}/candidate_id=c/{ADOPTABLE}bad.parquet"
    lake.storage.write(uri, b"no parquet")
    with pytest.raises(LakeError, match=r"bad\.parquet: is no readable Parquet file.*delete it"):
        staged_shards(lake, table=COMPLETIONS, partition="c")

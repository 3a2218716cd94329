"""The commit rule: every key once, whoever commits and however often."""

from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from cluster import completion
from cluster.errors import LakeError
from cluster.lake.commit import (
    append_new,
    commit_shards,
    delete_errors,
    delete_missing_rewards,
    put_rewards,
)
from cluster.lake.lake import Lake
from cluster.lake.shard import staged_shards, write_shard
from cluster.lake.tables import COMPLETIONS, REWARDS, TAGS
from cluster.storage import Storage


def completions(
    ids: list[str], *, candidate: str = "c", outcome: str = "ok", text: str = "x"
) -> pl.DataFrame:
    n = len(ids)
    return completion.completions(
        {
            "query_id": ids,
            "candidate_id": [candidate] * n,
            "sample": [0] * n,
            "text": [text] * n,
            "finish_reason": ["stop"] * n,
            "prompt_tokens": [1] * n,
            "completion_tokens": [1] * n,
            "seconds": [0.1] * n,
            "outcome": [outcome] * n,
            "error": [None] * n,
        }
    )


def ids_in(lake: Lake) -> list[str]:
    return sorted(lake.read(COMPLETIONS)["query_id"])


def stage(lake: Lake, ids: list[str], **kwargs: str):
    frame = completions(ids, **kwargs)
    return write_shard(frame, lake=lake, table=COMPLETIONS, partition=kwargs.get("candidate", "c"))


def test_staged_rows_are_invisible_until_committed(root: str) -> None:
    lake = Lake.open(root)
    shard = stage(lake, ["a", "b"])
    assert ids_in(lake) == []
    assert commit_shards([shard], lake=lake, table=COMPLETIONS) == [shard]
    assert ids_in(lake) == ["a", "b"]


def test_committing_again_adds_nothing_even_after_compaction(root: str) -> None:
    lake = Lake.open(root)
    shards = [stage(lake, [f"{n}"]) for n in range(3)]
    commit_shards(shards, lake=lake, table=COMPLETIONS)
    assert commit_shards(shards, lake=lake, table=COMPLETIONS) == []
    lake.handle(COMPLETIONS).optimize.compact()
    assert commit_shards(shards, lake=lake, table=COMPLETIONS) == []
    assert ids_in(lake) == ["0", "1", "2"]


def test_a_shard_that_shares_a_key_is_left_out(root: str) -> None:
    lake = Lake.open(root)
    first, second, third = stage(lake, ["a", "b"]), stage(lake, ["b", "c"]), stage(lake, ["d"])
    assert commit_shards([first, second, third], lake=lake, table=COMPLETIONS) == [first, third]
    assert ids_in(lake) == ["a", "b", "d"]


def test_the_first_file_of_a_name_stays(root: str) -> None:
    lake = Lake.open(root)
    first = stage(lake, ["a"], text="first")
    again = stage(lake, ["a"], text="second")
    assert (again.path, again.rows) == (first.path, 1)
    commit_shards([again], lake=lake, table=COMPLETIONS)
    assert lake.read(COMPLETIONS)["text"].to_list() == ["first"]


def test_staged_shards_are_found_until_they_are_committed(root: str) -> None:
    lake = Lake.open(root)
    shard = stage(lake, ["a"])
    stage(lake, ["a"], candidate="other")
    assert staged_shards(lake, table=COMPLETIONS, partition="c") == [shard]
    commit_shards([shard], lake=lake, table=COMPLETIONS)
    assert staged_shards(lake, table=COMPLETIONS, partition="c") == []


@pytest.mark.parametrize("damage", ["missing", "truncated", "columns", "type"])
def test_a_damaged_shard_is_refused_and_the_table_stays_readable(root: str, damage: str) -> None:
    lake = Lake.open(root)
    commit_shards([stage(lake, ["good"])], lake=lake, table=COMPLETIONS)
    shard = stage(lake, ["bad"])
    uri = f"{lake.table_uri(COMPLETIONS)}/{shard.path}"
    content = lake.storage.read_bytes(uri)
    rows = completions(["bad"]).drop("candidate_id")
    if damage == "missing":
        lake.storage.delete(uri)
    elif damage == "truncated":
        lake.storage.write(uri, content[:-20])
    else:
        column = pl.lit(1).alias("extra" if damage == "columns" else "text")
        with lake.storage.filesystem().open(uri, "wb") as stream:
            rows.with_columns(column).write_parquet(stream)
    with pytest.raises(LakeError, match=shard.path.rsplit("/", 1)[-1]):
        commit_shards([shard], lake=lake, table=COMPLETIONS)
    assert ids_in(lake) == ["good"]


def test_append_new_keeps_the_first_of_a_key(root: str) -> None:
    lake = Lake.open(root)
    rows = pl.DataFrame({"query_id": ["a", "a", "b"], "tagger_id": "t", "tag": ["x", "x", "y"]})
    assert append_new(rows, lake=lake, table=TAGS) == 2
    more = pl.DataFrame({"query_id": ["b", "c"], "tagger_id": "t", "tag": ["y", "z"]})
    assert append_new(more, lake=lake, table=TAGS) == 1
    assert lake.read(TAGS).height == 3


def test_eight_writers_at_once_lose_nothing_and_double_nothing(root: str) -> None:
    lake = Lake.open(root)
    lake.handle(TAGS)

    def write(writer: int) -> None:
        own = Lake(storage=Storage.at(root))
        for part in range(3):
            shared = pl.DataFrame({"query_id": [f"shared-{part}"], "tagger_id": "t", "tag": "x"})
            mine = pl.DataFrame({"query_id": [f"{writer}-{part}"], "tagger_id": "t", "tag": "x"})
            append_new(pl.concat([shared, mine]), lake=own, table=TAGS)
            shard = stage(own, [f"{writer}-{part}"], candidate=f"c{writer % 2}")
            for _ in range(2):
                commit_shards([shard], lake=own, table=COMPLETIONS)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    expected = sorted(f"{writer}-{part}" for writer in range(8) for part in range(3))
    assert ids_in(lake) == expected
    tagged = sorted(lake.read(TAGS)["query_id"])
    assert tagged == sorted([*expected, "shared-0", "shared-1", "shared-2"])


def test_rewards_that_are_missing_for_a_reason_can_be_taken_out_and_no_others(root: str) -> None:
    lake = Lake.open(root)
    one = {"candidate_id": "c", "sample": 0, "scorer_id": "s", "value": None, "reason": "why"}
    rows = [
        one | {"query_id": "asked"},
        one | {"query_id": "scored", "value": 1.0},
        one | {"query_id": "elsewhere"},
        one | {"query_id": "asked", "scorer_id": "other"},
    ]
    append_new(pl.DataFrame(rows, schema=REWARDS.schema), lake=lake, table=REWARDS)
    queries = pl.DataFrame({"query_id": ["asked", "asked", "scored"]})
    assert delete_missing_rewards(queries, lake=lake, scorer_id="s") == 1
    left = lake.read(REWARDS).select("query_id", "scorer_id").sort("query_id")
    assert left.rows() == [("asked", "other"), ("elsewhere", "s"), ("scored", "s")]


def test_put_rewards_take_the_place_of_those_with_their_key(root: str) -> None:
    lake = Lake.open(root)
    one = {"candidate_id": "c", "sample": 0, "scorer_id": "s", "value": 0.5, "weight": 1.0}
    rows = [one | {"query_id": "old"}, one | {"query_id": "old", "scorer_id": "other"}]
    append_new(pl.DataFrame(rows, schema=REWARDS.schema), lake=lake, table=REWARDS)
    before = lake.version(REWARDS)
    late = [one | {"query_id": "old", "value": 1.0}, one | {"query_id": "new", "reason": "why"}]
    for _ in range(2):
        put_rewards(pl.DataFrame(late, schema=REWARDS.schema), lake=lake)
        found = lake.read(REWARDS).select("query_id", "scorer_id", "value", "reason")
        assert sorted(found.rows()) == [
            ("new", "s", 0.5, "why"),
            ("old", "other", 0.5, None),
            ("old", "s", 1.0, None),
        ]
    assert lake.read(REWARDS, version=before).height == 2


def test_deleted_errors_are_missing_again_and_are_not_adopted(root: str) -> None:
    lake = Lake.open(root)
    commit_shards([stage(lake, ["good"])], lake=lake, table=COMPLETIONS)
    failed = completions(["bad"], outcome="error")
    shard = write_shard(
        failed, lake=lake, table=COMPLETIONS, partition="c", name="errors-1.parquet"
    )
    commit_shards([shard], lake=lake, table=COMPLETIONS)
    keys = pl.DataFrame({"query_id": ["other", "good"], "sample": [0, 0]})
    assert delete_errors(keys, lake=lake, candidate_id="c") == 0
    keys = pl.DataFrame({"query_id": ["bad", "good"], "sample": [0, 0]})
    assert delete_errors(keys, lake=lake, candidate_id="other") == 0
    assert delete_errors(keys, lake=lake, candidate_id="c") == 1
    assert ids_in(lake) == ["good"]
    assert staged_shards(lake, table=COMPLETIONS, partition="c") == []

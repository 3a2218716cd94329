"""The store's time, and writers beside an upkeep whose clock is wrong all the same."""

import time
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import LakeError
from cluster.lake import commit
from cluster.lake.clock import agreed_time, store_time
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import TAGS
from cluster.lake.upkeep import keep_table

DAY = 86_400


def test_the_store_says_what_time_it_is(root: str) -> None:
    lake = Lake.open(root)
    before = time.time()
    # A store tells whole seconds.
    assert before - 1 <= store_time(lake) <= time.time() + 1
    assert before - 1 <= agreed_time(lake) <= time.time() + 1
    assert [uri for uri, _ in lake.storage.list(root)] == [f"{root}/lake.json"]


def tag(query: str) -> pl.DataFrame:
    return pl.DataFrame({"query_id": [query], "tagger_id": "t", "tag": "x"})


def jump(lake: Lake, *, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """So often an upkeep that believes it is next week comes just before a commit."""
    turns = iter(range(times))

    def upkeep(place: str) -> None:
        if place == "commit.before" and next(turns, None) is not None:
            done = keep_table(
                lake,
                table=TAGS,
                keep_days=7,
                pinned={},
                now=time.time() + 8 * DAY,
                dry_run=False,
            )
            assert done.leftovers == 1

    monkeypatch.setattr(commit, "failpoint", upkeep)


def test_a_writer_whose_file_goes_before_its_commit_writes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(tmp_path)
    append_new(tag("a"), lake=lake, table=TAGS)
    jump(lake, monkeypatch=monkeypatch, times=2)
    assert append_new(tag("b"), lake=lake, table=TAGS) == 1
    assert sorted(lake.read(TAGS)["query_id"]) == ["a", "b"]


def test_a_writer_whose_files_go_again_and_again_says_so_and_the_table_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(tmp_path)
    append_new(tag("a"), lake=lake, table=TAGS)
    jump(lake, monkeypatch=monkeypatch, times=100)
    with pytest.raises(LakeError, match=r"rows-.*gone before it is committed"):
        append_new(tag("b"), lake=lake, table=TAGS)
    assert lake.read(TAGS)["query_id"].to_list() == ["a"]

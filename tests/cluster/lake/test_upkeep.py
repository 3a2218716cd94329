"""Upkeep of tables: rows stay what they are, whoever writes or reads meanwhile."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from cluster import completion
from cluster.errors import LakeError
from cluster.lake.commit import append_new, commit_shards, delete_errors
from cluster.lake.compaction import MIN_FILES, compact
from cluster.lake.lake import Lake, active_files
from cluster.lake.leftovers import FOLDERS
from cluster.lake.plan import plan_candidate
from cluster.lake.shard import Shard, staged_shards, write_shard
from cluster.lake.tables import COMPLETIONS, TABLES, TAGS
from cluster.lake.upkeep import TableUpkeep, clear_unfinished, keep_table
from cluster.lake.vacuum import vacuum
from tests.ageing import age_removals

DAY = 86_400
IDS = [f"{n:03}" for n in range(2 * MIN_FILES)]


@pytest.fixture
def local(tmp_path: Path) -> str:
    """An empty place for a lake, for what does not differ on S3."""
    return str(tmp_path / "lake")


def rows(*ids: str, outcome: str = "ok", candidate: str = "c") -> pl.DataFrame:
    return completion.completions(
        {
            "query_id": ids,
            "candidate_id": [candidate] * len(ids),
            "sample": [0] * len(ids),
            "text": [f"answer to {one}" for one in ids],
            "outcome": [outcome] * len(ids),
        }
    )


def stage(lake: Lake, *ids: str, outcome: str = "ok", name: str = "") -> Shard:
    frame = rows(*ids, outcome=outcome)
    return write_shard(frame, lake=lake, table=COMPLETIONS, partition="c", name=name)


def commit_each(lake: Lake, ids: list[str]) -> list[Shard]:
    """A file a row, in one commit."""
    return commit_shards([stage(lake, one) for one in ids], lake=lake, table=COMPLETIONS)


def there(lake: Lake, *, version: int | None = None) -> list[tuple[str, str]]:
    return sorted(
        lake.scan(COMPLETIONS, version=version).select("query_id", "text").collect().rows()
    )


def expected(*ids: str) -> list[tuple[str, str]]:
    return sorted((one, f"answer to {one}") for one in ids)


def on_disk(lake: Lake) -> set[str]:
    return {entry.name for entry in lake.storage.entries(lake.table_uri(COMPLETIONS))}


def kept(lake: Lake, *, days_ahead: float = 0.0, dry_run: bool = False, pinned=None) -> TableUpkeep:
    return keep_table(
        lake,
        table=COMPLETIONS,
        keep_days=7,
        pinned=pinned or {},
        now=time.time() + days_ahead * DAY,
        dry_run=dry_run,
    )


def test_small_files_become_one_and_the_rows_stay(root: str) -> None:
    lake = Lake.open(root)
    commit_each(lake, IDS)
    before = lake.version(COMPLETIONS)
    done = kept(lake)
    assert (done.compacted, done.into, done.vacuumed) == (len(IDS), 1, 0)
    assert active_files(lake.handle(COMPLETIONS)).height == 1
    assert there(lake) == expected(*IDS)
    assert there(lake, version=before) == expected(*IDS), "a reader of the older version goes on"
    again = lake.version(COMPLETIONS)
    assert kept(lake).compacted == 0
    assert lake.version(COMPLETIONS) == again, "nothing to do makes no new version"


def test_a_dry_run_tells_the_same_and_does_nothing(local: str) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS)
    before = lake.version(COMPLETIONS), on_disk(lake)
    told = kept(lake, dry_run=True)
    assert (lake.version(COMPLETIONS), on_disk(lake)) == before
    assert told.compacted == kept(lake).compacted


def test_shards_committed_again_after_a_compaction_add_nothing(local: str) -> None:
    lake = Lake.open(local)
    shards = commit_each(lake, IDS)
    kept(lake)
    assert commit_shards(shards, lake=lake, table=COMPLETIONS) == []
    assert staged_shards(lake, table=COMPLETIONS, partition="c") == []
    required = pl.DataFrame({"query_id": [*IDS, "new"]}).with_columns(
        sample=pl.lit(0, dtype=pl.Int32)
    )
    plan = plan_candidate(required, lake=lake, candidate_id="c")
    assert (plan.adopted, plan.missing["query_id"].to_list()) == (0, ["new"])
    assert there(lake) == expected(*IDS)


def test_a_commit_whose_answer_was_lost_before_a_compaction_counts_once(
    local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS)
    made = DeltaTable.create_write_transaction

    def lost(*words, **named) -> None:
        made(*words, **named)
        monkeypatch.setattr(DeltaTable, "create_write_transaction", made)
        compact(lake, table=COMPLETIONS)
        raise CommitFailedError("the answer was lost")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lost)
    last = stage(lake, "last")
    assert commit_shards([last], lake=lake, table=COMPLETIONS) == [last]
    assert there(lake) == expected(*IDS, "last")


def test_what_is_staged_is_adopted_whatever_upkeep_did_before(local: str) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS)
    stage(lake, "paid", "for")
    age_removals(lake, table=COMPLETIONS)
    kept(lake, days_ahead=400)
    required = pl.DataFrame({"query_id": ["paid", "for"]}).with_columns(
        sample=pl.lit(0, dtype=pl.Int32)
    )
    plan = plan_candidate(required, lake=lake, candidate_id="c")
    assert (plan.adopted, plan.missing.height) == (2, 0)
    assert there(lake) == expected(*IDS, "paid", "for")


def test_a_vacuum_takes_what_is_old_and_nothing_else(root: str) -> None:
    lake = Lake.open(root)
    shards = commit_each(lake, IDS)
    kept(lake)
    now = time.time()
    assert vacuum(lake, table=COMPLETIONS, keep_days=7, now=now) == [], "nothing is old yet"
    age_removals(lake, table=COMPLETIONS)
    stage(lake, "staged")
    done = kept(lake)
    assert done.vacuumed == len(IDS)
    gone = {shard.path.rsplit("/", 1)[-1] for shard in shards}
    assert not gone & on_disk(lake)
    assert there(lake) == expected(*IDS)
    assert len(staged_shards(lake, table=COMPLETIONS, partition="c")) == 1


def test_a_version_that_a_run_reads_keeps_its_files(root: str) -> None:
    lake = Lake.open(root)
    commit_each(lake, IDS[:-3])
    pinned = lake.version(COMPLETIONS)
    commit_each(lake, IDS[-3:])
    readers = {pinned: "train-1", lake.version(COMPLETIONS): "train-2"}
    assert kept(lake, pinned=readers).pinned_by == (), "nothing is old yet"
    age_removals(lake, table=COMPLETIONS)
    newest = {lake.version(COMPLETIONS): "train-3"}
    assert kept(lake, pinned=readers | newest, dry_run=True).pinned_by == ("train-1", "train-2")
    done = kept(lake, pinned={pinned: "train-1"} | newest)
    assert done.pinned_by == ("train-1",)
    assert done.vacuumed == 3
    assert there(lake, version=pinned) == expected(*IDS[:-3])
    later = kept(lake, days_ahead=400, pinned={pinned: "train-1"})
    assert (later.leftovers, later.pinned_by) == (0, ("train-1",))
    assert there(lake, version=pinned) == expected(*IDS[:-3])
    assert kept(lake).vacuumed == len(IDS) - 3, "once the run is done they go"


def test_a_pinned_version_the_log_has_forgotten_holds_nothing_up(local: str) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS[:2])
    assert kept(lake, pinned={10**6: "long gone"}).vacuumed == 0


def test_a_pinned_version_that_cannot_be_opened_stops_the_vacuum(local: str) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS)
    kept(lake)
    age_removals(lake, table=COMPLETIONS)
    lake.handle(COMPLETIONS).create_checkpoint()
    lake.storage.write(f"{lake.table_uri(COMPLETIONS)}/_delta_log/{1:020d}.json", b"{")
    before = on_disk(lake)
    with pytest.raises(LakeError, match="version 1"):
        vacuum(lake, table=COMPLETIONS, keep_days=7, now=time.time(), pinned=[1])
    assert on_disk(lake) == before


def test_leftovers_of_crashes_go_once_they_are_old(local: str) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS[:2])
    died = stage(lake, "lost", name="rows-died.parquet")
    never = stage(lake, *IDS[:2])
    wanted = stage(lake, IDS[0], "only here")
    assert kept(lake).leftovers == 0
    assert kept(lake, days_ahead=8, dry_run=True).leftovers == 2
    assert kept(lake, days_ahead=8).leftovers == 2
    left = on_disk(lake)
    assert not {died.path.rsplit("/", 1)[-1], never.path.rsplit("/", 1)[-1]} & left
    assert wanted.path.rsplit("/", 1)[-1] in left
    assert there(lake) == expected(*IDS[:2])


def damage(lake: Lake, shard: Shard, *, how: str) -> Path:
    """A staged file whose end, or whose middle alone, is broken."""
    file = Path(lake.table_uri(COMPLETIONS), shard.path)
    content = file.read_bytes()
    broken = {"end": content[:-20], "all": b"PAR1 cut off", "middle": _holed(content)}
    file.write_bytes(broken[how])
    return file


def _holed(content: bytes) -> bytes:
    """The footer stands, the pages before it are noise."""
    size = int.from_bytes(content[-8:-4], "little") + 8
    return b"\xff" * (len(content) - size) + content[-size:]


@pytest.mark.parametrize("how", ["end", "all", "middle"])
def test_a_damaged_staged_file_stays_and_holds_nothing_up(local: str, how: str) -> None:
    lake = Lake.open(local)
    commit_each(lake, IDS[:2])
    never = stage(lake, *IDS[:2])
    file = damage(lake, stage(lake, "paid for"), how=how)
    for dry_run in (True, False):
        done = kept(lake, days_ahead=8, dry_run=dry_run)
        assert (done.leftovers, done.damaged) == (1, (str(file),))
    assert file.exists()
    assert never.path.rsplit("/", 1)[-1] not in on_disk(lake)
    assert kept(lake, days_ahead=8).leftovers == 0


def half_written(lake: Lake, name: str) -> Path:
    """What is left of a write that died before it gave its file a name."""
    there = {entry.uri for entry in lake.storage.entries(lake.storage.uri)}
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(Path, "replace", lambda *_: None)
        lake.storage.write(lake.storage.join(name), b"x")
    (left,) = {entry.uri for entry in lake.storage.entries(lake.storage.uri)} - there
    return Path(left)


def test_half_written_files_go_after_a_day(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path))
    half = half_written(lake, "checkpoints/one/model.safetensors")
    marker = half_written(lake, "lake.json")
    assert clear_unfinished(lake, now=time.time(), dry_run=False) == []
    for file in (half, marker):
        os.utime(file, (0, 0))
    told = clear_unfinished(lake, now=time.time(), dry_run=True)
    assert set(told) == {str(half), str(marker)}
    assert half.exists()
    assert clear_unfinished(lake, now=time.time(), dry_run=False) == told
    assert not half.exists()
    assert not marker.exists()
    assert Lake.open(str(tmp_path), create=False)


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".gitignore",
        ".env.0123456789ab",
        "sub/.bashrc",
        "sub/.model.0123456789ab",
        ".git/.config.0123456789ab",
        "checkpoints/.gitignore",
        "checkpoints/one/.model.1234",
        "checkpoints/one/.model.0123456789ABC",
        "checkpoints/one/..0123456789ab",
        "checkpoints/one/model.0123456789ab",
        "completions/.DS_Store",
    ],
)
def test_files_of_others_stay_however_old(tmp_path: Path, name: str) -> None:
    lake = Lake.open(str(tmp_path))
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")
    os.utime(file, (0, 0))
    assert clear_unfinished(lake, now=time.time(), dry_run=False) == []
    assert file.read_text() == "precious"


@pytest.mark.parametrize("folder", [*FOLDERS, *TABLES])
def test_a_folder_of_ours_is_cleared(tmp_path: Path, folder: str) -> None:
    lake = Lake.open(str(tmp_path))
    half = half_written(lake, f"{folder}/below/name")
    os.utime(half, (0, 0))
    assert clear_unfinished(lake, now=time.time(), dry_run=False) == [str(half)]


def test_beside_writers_every_row_stands_once(root: str) -> None:
    """Appends, retried errors and compactions at once; nobody fails, nothing is lost or doubled."""
    lake = Lake.open(root)
    commit_each(lake, IDS)
    failed = [f"failed {n}" for n in range(5)]
    for one in failed:
        error = stage(lake, one, outcome="error", name=f"errors-{one[-1]}.parquet")
        commit_shards([error], lake=lake, table=COMPLETIONS)
    stop = threading.Event()

    def tidy() -> int:
        merged = 0
        while not stop.is_set():
            merged += kept(Lake.open(root)).compacted
        return merged

    def append(number: int) -> None:
        mine = Lake.open(root)
        for place in range(4):
            commit_shards([stage(mine, f"{number} {place}")], lake=mine, table=COMPLETIONS)

    def retry() -> None:
        mine = Lake.open(root)
        for one in failed:
            key = pl.DataFrame({"query_id": [one]}).with_columns(sample=pl.lit(0, dtype=pl.Int32))
            assert delete_errors(key, lake=mine, candidate_id="c") == 1
            append_new(rows(one), lake=mine, table=COMPLETIONS)

    with ThreadPoolExecutor(4) as pool:
        tidying = pool.submit(tidy)
        writers = [pool.submit(append, 0), pool.submit(append, 1), pool.submit(retry)]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.set()
        assert tidying.result() >= len(IDS)
    fresh = [f"{number} {place}" for number in range(2) for place in range(4)]
    assert there(lake) == expected(*IDS, *failed, *fresh)
    assert set(lake.read(COMPLETIONS)["outcome"]) == {"ok"}


def test_a_table_without_partitions_is_compacted_whole(local: str) -> None:
    lake = Lake.open(local)
    for n in range(MIN_FILES):
        row = pl.DataFrame({"query_id": [str(n)], "tagger_id": "t", "tag": "x"})
        append_new(row, lake=lake, table=TAGS)
    assert compact(lake, table=TAGS).into == 1
    assert sorted(lake.read(TAGS)["query_id"], key=int) == [str(n) for n in range(MIN_FILES)]

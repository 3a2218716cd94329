"""A Delta log from a stranger: nothing outside the table is read or deleted."""

import json
import os
import time
from pathlib import Path

import polars as pl
import pytest

from cluster import registry
from cluster.errors import LakeError
from cluster.jobs.old_checkpoints import delete_checkpoint
from cluster.jobs.run import Run
from cluster.jobs.upkeep import UpkeepSpec, upkeep
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import TAGS
from cluster.lake.upkeep import keep_table

DAY = 86_400


def tags(query: str) -> pl.DataFrame:
    return pl.DataFrame({"query_id": [query], "tagger_id": "t", "tag": "x"})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    append_new(tags("ours"), lake=lake, table=TAGS)
    return lake


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A table's file that belongs to somebody else, and is old."""
    file = tmp_path / "elsewhere" / "secret.parquet"
    file.parent.mkdir()
    tags("SECRET").write_parquet(file)
    os.utime(file, (0, 0))
    return file


def write_log(lake: Lake, line: str) -> None:
    log = Path(lake.table_uri(TAGS), "_delta_log")
    (log / f"{len(list(log.glob('*.json'))):020d}.json").write_text(line)


def names_of(secret: Path) -> list[str]:
    relative = "../../elsewhere/secret.parquet"
    return [relative, relative.replace("/", "%2F"), str(secret), secret.as_uri()]


@pytest.mark.parametrize("way", range(4))
def test_a_file_outside_is_never_read(lake: Lake, secret: Path, way: int) -> None:
    action = {
        "path": names_of(secret)[way],
        "partitionValues": {},
        "size": secret.stat().st_size,
        "modificationTime": 0,
        "dataChange": True,
    }
    write_log(lake, json.dumps({"add": action}))
    with pytest.raises((LakeError, OSError)) as refused:
        lake.read(TAGS)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("way", range(4))
def test_a_file_outside_is_never_deleted(lake: Lake, secret: Path, way: int) -> None:
    action = {"path": names_of(secret)[way], "deletionTimestamp": 1, "dataChange": True}
    write_log(lake, json.dumps({"remove": action}))
    later = time.time() + 400 * DAY
    done = keep_table(lake, table=TAGS, keep_days=7, pinned={}, now=later, dry_run=False)
    assert done.vacuumed == 0
    assert secret.exists()
    assert lake.read(TAGS)["query_id"].to_list() == ["ours"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        "[" * 50_000,
        '{"protocol": {"minReaderVersion": 99, "minWriterVersion": 99}}',
        '{"add": {"path": 5, "partitionValues": "x", "size": "a"}}',
        "\x00",
    ],
    ids=["cut", "list", "null", "deep", "newer protocol", "types", "nul"],
)
def test_a_log_that_is_none_is_refused(lake: Lake, line: str) -> None:
    write_log(lake, line)
    for look in (lambda: lake.read(TAGS), lambda: append_new(tags("q"), lake=lake, table=TAGS)):
        with pytest.raises(LakeError, match="cannot be opened"):
            look()


@pytest.mark.parametrize("version", ["..", "../..", "", "../../elsewhere", "/", "a/../.."])
def test_a_version_that_is_a_path_deletes_nothing(
    lake: Lake, secret: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register(
        lake,
        version=version,
        checkpoint=f"{lake.storage.uri}/checkpoints/x",
        method="knn",
        dataset="d",
        metrics={},
        why="planted",
    )
    keep = Path(lake.storage.join("checkpoints", "aaa", "router.json"))
    keep.parent.mkdir(parents=True)
    keep.write_text("{}")
    later = time.time() + 20 * DAY
    monkeypatch.setattr("cluster.jobs.upkeep.agreed_time", lambda _: later)
    os.utime(keep, (later, later))
    spec = UpkeepSpec(
        lake=lake.storage.uri,
        keep_days=7,
        run_days=7,
        router_days=1,
        dry_run=False,
        found={},
        day="",
    )
    assert upkeep(spec, Run.of(spec))["checkpoints"]["challengers"] == []
    with pytest.raises(AssertionError, match="no name of a folder"):
        delete_checkpoint(version, lake=lake)
    assert keep.exists()
    assert secret.exists()

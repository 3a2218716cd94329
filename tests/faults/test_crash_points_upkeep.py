"""Every write boundary of upkeep: what is to go goes in the end, and nothing else ever does."""

import os
import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster import completion, registry
from cluster.jobs.run import Run
from cluster.jobs.upkeep import UpkeepSpec
from cluster.lake.commit import append_new, commit_shards
from cluster.lake.compaction import MIN_FILES, compact
from cluster.lake.lake import Lake, active_files
from cluster.lake.shard import Shard, write_shard
from cluster.lake.tables import COMPLETIONS, TAGS
from tests.ageing import age_removals
from tests.faults.crashes import Work

DAY = 86_400
OLD = 100
# The version of a checkpoint that nobody registered.
DEAD = "dead" * 16
CHALLENGER = "c" * 64


class LongAgo(datetime):
    """What was registered then."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "LongAgo":
        return cls.fromtimestamp(time.time() - OLD * DAY, tz or UTC)


def aged(file: Path, *, days: float = OLD) -> Path:
    os.utime(file, (time.time() - days * DAY,) * 2)
    return file


def write(lake: Lake, path: str, *, days: float = OLD) -> Path:
    file = Path(lake.storage.join(path))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    return aged(file, days=days)


def tags(lake: Lake, *, turn: int) -> list[Path]:
    """A file a row."""
    before = set(active_files(lake.handle(TAGS))["path"])
    for number in range(MIN_FILES):
        row = pl.DataFrame({"query_id": [f"{turn} {number}"], "tagger_id": "t", "tag": "x"})
        append_new(row, lake=lake, table=TAGS)
    new = set(active_files(lake.handle(TAGS))["path"]) - before
    return [Path(lake.table_uri(TAGS), path) for path in new]


def stage(lake: Lake, *ids: str, name: str = "") -> Shard:
    rows = completion.completions(
        {"query_id": ids, "candidate_id": ["c"] * len(ids), "sample": [0] * len(ids)}
    )
    shard = write_shard(rows, lake=lake, table=COMPLETIONS, partition="c", name=name)
    aged(file_of(shard, lake=lake))
    return shard


def file_of(shard: Shard, *, lake: Lake) -> Path:
    return Path(lake.table_uri(COMPLETIONS), shard.path)


def challenger(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = write(lake, f"checkpoints/{CHALLENGER}/router.json")
    told: dict[str, Any] = {"method": "knn", "dataset": "d", "metrics": {}, "why": "trained"}
    with monkeypatch.context() as then:
        then.setattr(registry, "datetime", LongAgo)
        registry.register(lake, version=CHALLENGER, checkpoint=str(file.parent), **told)
    return file


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "work" / "lake")


@pytest.fixture
def doomed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """What upkeep is to delete, of every kind there is."""
    merged = tags(lake, turn=0)
    compact(lake, table=TAGS)
    age_removals(lake, table=TAGS, days=OLD)
    commit_shards([stage(lake, "committed")], lake=lake, table=COMPLETIONS)
    died = stage(lake, "died", name="rows-died.parquet")
    never = stage(lake, "committed", name="shard-2.parquet")
    return {
        *merged,
        *(file_of(shard, lake=lake) for shard in (died, never)),
        write(lake, "checkpoints/one/.router.json.0123456789ab", days=2),
        write(lake, f"checkpoints/{DEAD}/router.json"),
        write(lake, f"checkpoints/{DEAD}.outcomes.parquet"),
        challenger(lake, monkeypatch),
        write(lake, "runs/train-0000000000000001/spec.json"),
        write(lake, "runs/train-0000000000000001/manifest.json"),
        write(lake, "runs/train-0000000000000001/scratch/1.json"),
    }


@pytest.fixture
def wanted(lake: Lake, doomed: set[Path]) -> set[Path]:
    """What must stay, though it is as old."""
    assert all(file.exists() for file in doomed)
    return {
        file_of(stage(lake, "paid for"), lake=lake),
        *tags(lake, turn=1),
        write(lake, ".env"),
        write(lake, "runs/.gitignore"),
        write(lake, "runs/mine/weights.pt"),
        write(lake, "checkpoints/new/router.json", days=1),
        write(lake, "checkpoints/base-models/weights.pt"),
    }


def test_upkeep_dies(
    lake: Lake, doomed: set[Path], wanted: set[Path], site, die_everywhere
) -> None:
    days = {"keep_days": 7, "run_days": 30, "router_days": 30}
    spec = UpkeepSpec(lake=lake.storage.uri, dry_run=False, found={}, day="2026-01-01", **days)
    uri = Run.of(spec).write_spec(spec)

    def facts() -> dict[str, Any]:
        manifest = Run.of(spec).read_manifest()
        return {
            "finished": manifest is not None,
            "tags": sorted(lake.read(TAGS)["query_id"]),
            "files": active_files(lake.handle(TAGS)).height,
            "completions": sorted(lake.read(COMPLETIONS)["query_id"]),
            "routers": registry.versions(lake)["version"].to_list(),
            "retired": registry.history(lake, version=CHALLENGER)["event"].to_list(),
            "not gone": {file for file in doomed if file.exists()},
            "lost": {file for file in wanted if not file.exists()},
            "probes": lake.storage.list(lake.storage.join("clock")),
        }

    die_everywhere(
        Work(
            name="upkeep",
            root=Path(lake.storage.uri),
            process=lambda **env: site.driver("-m", "cluster.jobs.upkeep", uri, **env),
            facts=facts,
        )
    )
    assert facts() == {
        "finished": True,
        "tags": sorted(f"{turn} {number}" for turn in range(2) for number in range(MIN_FILES)),
        "files": 1,
        "completions": ["committed"],
        "routers": [],
        "retired": ["register", "retire"],
        "not gone": set(),
        "lost": set(),
        "probes": [],
    }

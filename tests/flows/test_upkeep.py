"""`signalbox upkeep` as a user has it, on a lake with routers."""

import shutil
from pathlib import Path
from typing import Any

from cluster import registry
from cluster.lake.lake import Lake
from cluster.lake.tables import EVALUATIONS, REGISTRY
from cluster.routers.checkpoint import load_router


def test_a_dry_run_then_the_upkeep_and_the_lake_reads_as_before(
    toy: Any, signalbox: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "lake"
    shutil.copytree(toy.lake, folder)
    lake = Lake.open(folder)
    before = {table.name: lake.read(table).height for table in (EVALUATIONS, REGISTRY)}
    planned = signalbox("upkeep", "--lake", folder, "--dry-run").manifest
    assert planned["dry_run"]
    ran = signalbox("upkeep", "--lake", folder, "--run-days", 7)
    done = ran.manifest
    assert "deleted: 0 files of tables, 0 of " in ran.err
    assert [row["table"] for row in done["tables"]] == [row["table"] for row in planned["tables"]]
    assert done["runs"]["deleted"] == 0
    assert {table.name: lake.read(table).height for table in (EVALUATIONS, REGISTRY)} == before
    assert load_router(registry.resolve(lake, version="champion")["checkpoint"]).candidates


def test_days_that_would_break_readers_are_refused(signalbox: Any, tmp_path: Path) -> None:
    for flag, days in (("--keep-days", 6), ("--keep-days", 60), ("--run-days", 1)):
        refused = signalbox("upkeep", "--lake", tmp_path, flag, days)
        refused.refused(flag, status=2)


def test_a_folder_without_a_lake_is_not_made_one(signalbox: Any, tmp_path: Path) -> None:
    signalbox("upkeep", "--lake", tmp_path / "none").refused("there is no lake here")
    assert not (tmp_path / "none").exists()

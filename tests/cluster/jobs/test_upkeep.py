"""The upkeep job, run by hand: old runs and checkpoints go, what anybody needs stays."""

import json
import os
import time
from pathlib import Path

import pytest

from cluster import registry
from cluster.errors import InputError, LakeError
from cluster.gate.decision import Decision
from cluster.jobs.run import Run
from cluster.jobs.run_folders import pins, run_folders
from cluster.jobs.upkeep import UpkeepSpec, upkeep
from cluster.lake.compaction import MIN_FILES
from cluster.lake.lake import Lake
from cluster.lake.tables import REGISTRY
from tests.ageing import age_removals

DAY = 86_400
DAYS = {"keep_days": 7, "run_days": 30, "router_days": 0}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path / "lake"))


def tidy(lake: Lake, **changes) -> dict:
    settings = {"dry_run": False, "found": {}, "day": "2026-01-01", **DAYS}
    spec = UpkeepSpec(lake=lake.storage.uri, **(settings | changes))
    return upkeep(spec, Run.of(spec))


def write(lake: Lake, path: str, content: str = "{}", *, days_old: float = 0.0) -> Path:
    file = Path(lake.storage.join(path))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    os.utime(file, (time.time() - days_old * DAY,) * 2)
    return file


def write_run(lake: Lake, name: str, *, days_old: float, finished: bool, spec: str = "{}") -> Path:
    file = write(lake, f"runs/{name}/spec.json", spec, days_old=days_old)
    write(lake, f"runs/{name}/scratch/part/1.json", days_old=days_old)
    if finished:
        write(lake, f"runs/{name}/manifest.json", days_old=days_old)
    return file.parent


def write_checkpoint(lake: Lake, version: str, *, days_old: float, registered: bool) -> Path:
    file = write(lake, f"checkpoints/{version}/router.json", days_old=days_old)
    write(lake, f"checkpoints/{version}.outcomes.parquet", days_old=days_old)
    if registered:
        registry.register(
            lake,
            version=version,
            checkpoint=str(file.parent),
            method="knn",
            dataset="d",
            metrics={},
            why="trained",
        )
    return file.parent


def promote(lake: Lake, version: str) -> None:
    registry.promote(lake, version=version, decide=lambda _: Decision(promote=True, why="asked"))


def test_runs_go_by_age_and_a_dry_run_only_tells(lake: Lake) -> None:
    old = write_run(lake, "train-0000000000000001", days_old=31, finished=True)
    dead = write_run(lake, "route-deaddeaddeaddead", days_old=31, finished=False)
    new = write_run(lake, "train-0000000000000002", days_old=29, finished=True)
    told = tidy(lake, dry_run=True)["runs"]
    assert told == {"there": 3, "deleted": 2, "bytes": 5 * len("{}")}
    assert old.exists()
    # The folder of the first upkeep has come to them.
    assert tidy(lake)["runs"] == told | {"there": 4}
    assert (old.exists(), dead.exists(), new.exists()) == (False, False, True)


@pytest.mark.parametrize(
    "path",
    ["runs/.gitignore", "runs/mine/weights.pt", "runs/.git/config", "runs/train-1/spec.json"],
)
def test_what_others_keep_beside_runs_stays(lake: Lake, path: str) -> None:
    file = write(lake, path, days_old=400)
    assert tidy(lake)["runs"]["there"] == 0
    assert file.exists()


def test_a_run_that_an_unfinished_one_reads_from_stays(lake: Lake) -> None:
    source = write_run(lake, "choose-1111111111111111", days_old=400, finished=True)
    spec = json.dumps({"requests": f"{source}/requests.parquet"})
    write_run(lake, "generate-1111111111111111", days_old=1, finished=False, spec=spec)
    assert tidy(lake)["runs"]["deleted"] == 0
    write(lake, "runs/generate-1111111111111111/manifest.json")
    assert tidy(lake)["runs"]["deleted"] == 1
    assert not source.exists()


def test_checkpoints_of_trainings_that_died_go_once_they_are_old(lake: Lake) -> None:
    dead = "dead" * 16
    died = write_checkpoint(lake, dead, days_old=8, registered=False)
    fresh = write_checkpoint(lake, "f4e5" * 16, days_old=6, registered=False)
    own = write_checkpoint(lake, "base-models", days_old=400, registered=False)
    known = write_checkpoint(lake, "known", days_old=400, registered=True)
    assert tidy(lake)["checkpoints"] == {"unregistered": [dead], "challengers": []}
    assert (died.exists(), fresh.exists(), known.exists()) == (False, True, True)
    assert own.exists(), "what nobody registered and is no version is somebody's own"
    assert not Path(f"{died}.outcomes.parquet").exists()


def test_old_challengers_go_on_request_and_no_champion_ever(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        write_checkpoint(lake, name, days_old=0, registered=True)
        for name in ("first", "second", "third", "asked")
    ]
    promote(lake, "first")
    promote(lake, "second")
    spec = json.dumps({"router": "asked"})
    write_run(lake, "route-1111111111111111", days_old=0, finished=False, spec=spec)
    start = time.time()
    monkeypatch.setattr("cluster.jobs.upkeep.agreed_time", lambda _: start + 2 * DAY)
    assert tidy(lake, router_days=3)["checkpoints"]["challengers"] == []
    assert tidy(lake, router_days=1)["checkpoints"]["challengers"] == ["third"]
    assert [folder.exists() for folder in folders] == [True, True, False, True]
    assert set(registry.versions(lake)["version"]) == {"first", "second", "asked"}
    with pytest.raises(InputError, match="no router version 'third'"):
        promote(lake, "third")
    assert registry.rollback(lake, why="worse") == "first"


def test_a_retired_router_that_is_trained_again_is_there_again(lake: Lake) -> None:
    write_checkpoint(lake, "one", days_old=0, registered=True)
    assert registry.retire(lake, version="one", why="old")
    assert not registry.retire(lake, version="one", why="old")
    assert registry.versions(lake).height == 0
    write_checkpoint(lake, "one", days_old=0, registered=True)
    promote(lake, "one")
    assert registry.champion(lake) == "one"
    assert not registry.retire(lake, version="one", why="old")


def test_what_a_finished_run_has_read_is_not_kept_for_it(lake: Lake) -> None:
    for name in map(str, range(MIN_FILES)):
        write_checkpoint(lake, name, days_old=0, registered=True)
    inputs = json.dumps({"inputs": {"registry": lake.version(REGISTRY)}})
    write_run(lake, "train-1111111111111111", days_old=0, finished=False, spec=inputs)
    row = next(row for row in tidy(lake)["tables"] if row["table"] == "registry")
    assert (row["compacted"], row["pinned_by"]) == (MIN_FILES, ())
    age_removals(lake, table=REGISTRY)
    row = next(row for row in tidy(lake)["tables"] if row["table"] == "registry")
    assert (row["vacuumed"], row["pinned_by"]) == (0, ("train-1111111111111111",))
    write(lake, "runs/train-1111111111111111/manifest.json")
    row = next(row for row in tidy(lake)["tables"] if row["table"] == "registry")
    assert (row["vacuumed"], row["pinned_by"]) == (MIN_FILES, ())


@pytest.mark.parametrize(
    "spec",
    ["", "{", "[]", "null", '{"inputs": 7}', '{"inputs": {"tags": "x", "queries": true}}', "\x00"],
)
def test_a_spec_that_is_not_sound_pins_nothing_and_stops_nothing(lake: Lake, spec: str) -> None:
    write_run(lake, "train-1111111111111111", days_old=0, finished=False, spec=spec)
    assert pins(run_folders(lake), lake=lake, since=0).versions == {}
    assert tidy(lake)["runs"]["deleted"] == 0


def test_what_an_unfinished_admission_compares_with_stays(lake: Lake) -> None:
    spec = json.dumps({"before": 3, "inputs": {"rewards": 7}})
    write_run(lake, "admit-1111111111111111", days_old=1, finished=False, spec=spec)
    pinned = pins(run_folders(lake), lake=lake, since=0).versions
    assert pinned == {"rewards": {3: "admit-1111111111111111", 7: "admit-1111111111111111"}}


@pytest.mark.parametrize("days", [-8, 8])
def test_nothing_goes_by_a_clock_that_the_store_does_not_share(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    new = write_run(lake, "train-0000000000000002", days_old=29, finished=True)
    old = write_run(lake, "train-0000000000000001", days_old=31, finished=True)
    real = time.time
    with monkeypatch.context() as jumped:
        jumped.setattr("time.time", lambda: real() + days * DAY)
        with pytest.raises(LakeError, match="set the clock right"):
            tidy(lake)
    assert (old.exists(), new.exists()) == (True, True)
    monkeypatch.setattr("time.time", lambda: real() + DAY / 48)
    assert tidy(lake)["runs"]["deleted"] == 1

"""The route job on Ray: the same output whoever routes, and whoever dies on the way."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cluster.jobs.run import Run
from cluster.routing.spec import RouteSpec
from tests.routed import query_rows, run, specs

ROWS, SHARD_ROWS = 400, 30
# Small shards, and actors however small the file is.
CODE = """
import sys
from cluster.jobs import route
from cluster.jobs.run import main
route.BATCH_ROWS, route.SMALL_BYTES = {rows}, 0
main(route.RouteSpec, work=route.route)
"""

# Whoever gets the first shard of a stretch dies of it, the first time or always, and so does the
# first one that is told to choose by a policy that has settled. No shard may do so twice.
MORTAL = """
import os, signal
from pathlib import Path
from cluster.jobs import route, route_pool
from cluster.jobs.route_worker import RouteWorker

class Mortal(RouteWorker):
    def score(self, task):
        shard = task.shard
        if shard.file == 0 and shard.first_row in (1, 171):
            die(str(shard.first_row), always={always})
        return super().score(task)

    def use(self, policy):
        die("use", always=False)
        super().use(policy)

def die(name, *, always):
    try:
        (Path({folder!r}) / name).touch(exist_ok=always)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

route_pool.RouteWorker, route_pool.MAX_DEATHS = Mortal, {deaths}
"""

BUDGET = {"policy": "budget", "policy_settings": {"usd_per_1000": 0.05}}


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., RouteSpec]:
    """Of a Parquet file of three row groups and of a text file with a broken row in it."""
    query_rows(ROWS).write_parquet(tmp_path / "in.1.parquet", row_group_size=170)
    more = query_rows(ROWS // 4, start=ROWS).write_ndjson().splitlines()
    more.insert(20, '{"id": 1, "text": ""}')
    (tmp_path / "in.2.jsonl").write_text("\n".join(more))
    return specs(tmp_path)


def calm(spec: RouteSpec, monkeypatch: pytest.MonkeyPatch) -> tuple[list[bytes], dict]:
    """What this process alone makes of it, undisturbed: files and manifest."""
    from cluster.jobs import route as route_module

    monkeypatch.setattr(route_module, "BATCH_ROWS", SHARD_ROWS)
    manifest = run(spec)
    return contents(manifest), manifest


def contents(manifest: dict) -> list[bytes]:
    files = [*manifest["outputs"], manifest["quarantine"]]
    return [Path(uri).read_bytes() for uri in files]


def on_ray(spec: RouteSpec, site, *, failpoint: str = "", before: str = ""):
    uri = Run.of(spec).write_spec(spec)
    return site.python("-c", before + CODE.format(rows=SHARD_ROWS), uri, failpoint=failpoint)


def finished(spec: RouteSpec, site, *, before: str = "") -> dict:
    done = on_ray(spec, site, before=before)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = Run.of(spec).read_manifest()
    assert manifest is not None
    return manifest


def facts(manifest: dict) -> dict:
    """What does not tell of one run's places and times."""
    own = {"outputs", "quarantine", "report", "seconds", "rows_per_second"}
    return {name: value for name, value in manifest.items() if name not in own}


@pytest.mark.parametrize("place", ["route.before_part:3", "route.after_part:3"])
def test_a_worker_dies(spec, site, monkeypatch, place) -> None:
    alone, told = calm(spec("alone"), monkeypatch)
    with site.worker_failpoint(place):
        manifest = finished(spec("together"), site)
    assert contents(manifest) == alone
    assert facts(manifest) == facts(told)
    assert (manifest["rows"], manifest["broken"]) == (ROWS + ROWS // 4, 1)
    whole = pl.concat(pl.read_parquet(uri) for uri in manifest["outputs"])
    assert whole["id"].to_list() == list(range(ROWS + ROWS // 4))


def test_the_driver_dies_and_what_was_finished_is_not_scored_again(spec, site, monkeypatch) -> None:
    """The word of a shard that is through keeps its time of writing, whatever comes after."""
    alone, told = calm(spec("alone"), monkeypatch)
    asked = spec("together")
    scratch = Path(Run.of(asked).uri("scratch"))
    assert on_ray(asked, site, failpoint="route.before_output").returncode == -signal.SIGKILL
    before = {file: file.stat().st_mtime_ns for file in scratch.rglob("*.json")}
    assert len(before) >= (ROWS + ROWS // 4) / SHARD_ROWS
    assert on_ray(asked, site, failpoint="manifest.before").returncode == -signal.SIGKILL
    assert {file: file.stat().st_mtime_ns for file in scratch.rglob("*.json")} == before
    manifest = finished(asked, site)
    assert contents(manifest) == alone
    assert facts(manifest) == facts(told)
    assert not scratch.exists(), "it has served"


def test_a_policy_that_sees_the_file_is_the_same_whoever_scores(spec, site, monkeypatch) -> None:
    alone, told = calm(spec("alone", **BUDGET), monkeypatch)
    asked = spec("together", **BUDGET)
    with site.worker_failpoint("route.before_part:2"):
        assert on_ray(asked, site, failpoint="manifest.before").returncode == -signal.SIGKILL
    manifest = finished(asked, site)
    assert contents(manifest) == alone
    assert facts(manifest) == facts(told)
    spent = json.loads(json.dumps(manifest["predicted_cost_usd"]))
    assert spent == pytest.approx(0.05 * manifest["rows"] / 1000, rel=0.01)


def test_many_workers_die_in_the_passes_and_between_them(spec, site, monkeypatch, tmp_path) -> None:
    """A shard may be at hand in each of the three deaths, of which it is to blame for one."""
    alone, told = calm(spec("alone", **BUDGET), monkeypatch)
    died = tmp_path / "died"
    died.mkdir()
    before = MORTAL.format(folder=str(died), always=False, deaths=3)
    manifest = finished(spec("together", **BUDGET), site, before=before)
    assert {file.name for file in died.iterdir()} == {"1", "171", "use"}
    assert contents(manifest) == alone
    assert facts(manifest) == facts(told)


def test_a_shard_that_every_worker_dies_of_ends_the_job(spec, site, tmp_path) -> None:
    before = MORTAL.format(folder=str(tmp_path), always=True, deaths=1)
    done = on_ray(spec("together", **BUDGET), site, before=before)
    assert done.returncode != 0
    assert "in.1.parquet, rows " in done.stderr
    assert "2 workers died while they had them" in done.stderr

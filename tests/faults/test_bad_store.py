"""S3 that answers a tenth of all requests 500 or 503, and another tenth slowly."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.jobs.ingest import pin_files
from cluster.lake.lake import Lake
from cluster.routing.spec import RouteSpec
from cluster.storage import Storage
from tests.faults.night import QUERIES, answered, facts_of, forget_answers, night
from tests.faults.toy import toy_lake, train_spec, trained
from tests.routed import query_rows, run, specs

FAULT = "S3: 10 % of requests answered 500 or 503, as many slowly"
MORE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7)]
seeds = pytest.mark.parametrize("seed", [1, *MORE])
ROWS = 300
OWN = {"outputs", "quarantine", "report", "seconds", "rows_per_second"}


@pytest.fixture
def world(fresh, s3_root: str):
    """An empty lake on S3."""
    return replace(fresh, root=s3_root)


@pytest.fixture
def bad_day(site) -> Callable[..., Any]:
    """The store has a bad day for the length of a block, and it is noticed."""

    @contextmanager
    def having(seed: int) -> Iterator[None]:
        with site.store.having_a_bad_day(share=0.1, seed=seed):
            yield
            told = site.store.told
        assert told["refused"] + told["lost"] > 0.02 * told["all"], told

    return having


@seeds
def test_collect(*, seed: int, world, labelled, site, bad_day, fault_table) -> None:
    site.echo.forget()
    with fault_table.run(FAULT, where="collect"):
        with bad_day(seed):
            site.succeed(world.ingest())
            site.succeed(world.generate())
            site.succeed(world.label())
        log = site.echo.generated()
        assert len(log) == len(set(log)) == 60
        world.must_equal(labelled.facts())


@seeds
def test_train(*, seed: int, s3_root: str, site, bad_day, fault_table, tmp_path: Path) -> None:
    roots = (s3_root, str(tmp_path / "calm"))
    lake, calm = (toy_lake(root, folder=tmp_path) for root in roots)
    site.succeed(train_spec(calm))
    with fault_table.run(FAULT, where="train"):
        with bad_day(seed):
            site.succeed(train_spec(lake))
        metrics, files = trained(lake)
        calm_metrics, calm_files = trained(calm)
        assert metrics.equals(calm_metrics)
        assert files == calm_files


def routed(manifest: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """What a route has told but for its places and times, and every file of it."""
    files = [*manifest["outputs"], manifest["quarantine"]]
    told = {name: value for name, value in manifest.items() if name not in OWN}
    return told, [Storage.at(uri).read_bytes(uri) for uri in files]


@seeds
def test_route(*, seed: int, s3_root: str, site, bad_day, fault_table, tmp_path: Path) -> None:
    query_rows(ROWS).write_parquet(tmp_path / "in.1.parquet", row_group_size=100)
    more = query_rows(ROWS // 4, start=ROWS).write_ndjson().splitlines()
    (tmp_path / "in.2.jsonl").write_text("\n".join([*more, '{"id": 1, "text": ""}']))
    spec = on_s3(specs(tmp_path)("out"), root=s3_root, folder=tmp_path)
    calm = run(spec.model_copy(update={"output": f"{s3_root}/calm"}))
    with fault_table.run(FAULT, where="route"):
        with bad_day(seed):
            manifest = site.succeed(spec)
        assert routed(manifest) == routed(calm)


def on_s3(spec: RouteSpec, *, root: str, folder: Path) -> RouteSpec:
    """The same of the same files and the same router, all on S3."""
    storage = Storage.at(root)
    for file in folder.rglob("[!.]*"):
        if file.is_file():
            storage.write(f"{root}/{file.relative_to(folder)}", file.read_bytes())
    moved = {name: f"{root}/{Path(getattr(spec, name)).name}" for name in ("lake", "output")}
    files = pin_files(f"{root}/in.*")
    return spec.model_copy(update={**moved, "files": files, "checkpoint": f"{root}/router"})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
def test_retrain(
    *, seed: int, s3_root: str, site, prefect, bad_day, fault_table, tmp_path: Path
) -> None:
    words = night(tmp_path, lake="LAKE", ray_address=site.address)

    def one_night(lake: str) -> None:
        forget_answers(tmp_path)
        done = site.cli(*(lake if one == "LAKE" else one for one in words), prefect=prefect)
        assert done.returncode == 0, done.stderr[-3000:]
        assert len(answered(tmp_path)) == 2 * QUERIES

    roots = (f"{s3_root}/calm", f"{s3_root}/bad")
    one_night(roots[0])
    with fault_table.run(FAULT, where="retrain"):
        with bad_day(seed):
            one_night(roots[1])
        calm, bad = (without_names(facts_of(Lake.open(root))(), lake=root) for root in roots)
        assert bad == calm


def without_names(facts: dict[str, Any], *, lake: str) -> str:
    """What is there, without the names of runs and of comparisons, which are of one lake."""
    text = json.dumps(facts, default=str).replace(lake, "")
    return re.sub(r'[a-z]+-[0-9a-f]{16}|"comparison": "[0-9a-f]{64}"', "name", text)

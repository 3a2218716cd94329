"""Two runs on one lake at the same time: each answer is generated once, and both succeed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster import registry
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, REGISTRY, TABLES
from cluster.storage import Storage
from tests.night_world import write_candidates, write_queries

FAULT = "two at once on one lake"


def slower(world, *, root: str, seconds: float = 0.2):
    """The same candidates, each shard taking a while."""
    candidates = tuple(c.model_copy(update={"model": str(seconds)}) for c in world.candidates)
    return replace(world, root=root, candidates=candidates)


def test_two_jobs_that_want_the_same_in_opposite_order(ingested, site, tmp_path: Path) -> None:
    """Each holds what the other waits for: a candidate's lease, and the machine's cores."""
    ingested.copied(tmp_path / "lake")
    here = slower(ingested, root=str(tmp_path / "lake"))
    there = replace(here, candidates=here.candidates[::-1])
    site.echo.forget()
    with ThreadPoolExecutor(2) as both:
        jobs = [both.submit(site.succeed_beside, world.generate()) for world in (here, there)]
        manifests = [job.result() for job in jobs]
    log = site.echo.generated()
    assert len(log) == len(set(log)) == 60
    assert sum(row["generated"] for m in manifests for row in m["candidates"]) == 60
    assert here.stored() == set(log)
    here.facts()


@pytest.fixture
def words(fresh, site, s3_root: str, tmp_path: Path) -> list[str]:
    """A collect on S3."""
    world = slower(fresh, root=s3_root)
    fields = {"name", "engine", "model", "template", "samples"}
    spec = [one.model_dump(mode="json", include=fields) for one in world.candidates]
    (tmp_path / "candidates.yaml").write_text(yaml.safe_dump(spec))
    return [
        *("--lake", s3_root, "--ray-address", site.address, "--queries", str(world.file)),
        *("--candidates", str(tmp_path / "candidates.yaml"), "--shard-rows", "8"),
    ]


def test_two_collects_at_once_on_s3(words, fresh, site, prefect, fault_table) -> None:
    s3_root = words[1]
    world = replace(fresh, root=s3_root)
    site.echo.forget()
    with fault_table.run(FAULT, where="collect on S3"):
        with ThreadPoolExecutor(2) as both:
            runs = list(both.map(lambda _: site.cli("collect", *words, prefect=prefect), range(2)))
        for run in runs:
            assert run.returncode == 0, run.stderr
            assert json.loads(run.stdout.splitlines()[-1])["lake"] == s3_root
        log = site.echo.generated()
        assert len(log) == len(set(log)) == 60
        assert world.lake.read(COMPLETIONS).height == 60
        assert set(world.facts()) >= {"queries", "completions", "rewards", "tags", "candidates"}
    site.echo.forget()
    again = site.cli("collect", *words, prefect=prefect)
    assert again.returncode == 0, again.stderr
    assert site.echo.generated() == []
    assert Storage.at(s3_root).list(f"{s3_root}/runs")


# A tenth is the snapshot: enough for the gate to be sure at the level of a first look.
QUERIES = 600


def test_two_nights_at_once(site, prefect, fault_table, tmp_path: Path) -> None:
    """They do one night together: nothing is asked twice, one router is promoted once."""
    write_queries(tmp_path / "watch", name="monday", n=QUERIES, seed=1)
    candidates = write_candidates(tmp_path)
    lake = Lake.open(tmp_path / "lake")
    words = ["--watch", str(tmp_path / "watch"), "--candidates", str(candidates)]
    words += ["--lake", str(tmp_path / "lake"), "--ray-address", site.address]
    with fault_table.run(FAULT, where="retrain"):
        with ThreadPoolExecutor(2) as both:
            runs = list(both.map(lambda _: site.cli("retrain", *words, prefect=prefect), range(2)))
        for run in runs:
            assert run.returncode == 0, run.stderr[-3000:]
        told = [json.loads(run.stdout.splitlines()[-1]) for run in runs]
        asked = [tmp_path / f"{name}.log" for name in ("sum", "word")]
        assert [len(file.read_text().splitlines()) for file in asked] == [QUERIES, QUERIES]
        for summary in lake.summaries():
            table = TABLES[summary.table]
            assert not lake.read(table).select(table.key).is_duplicated().any(), table.name
        events = lake.read(REGISTRY)
        assert events.filter(event="promote").height == 1
        assert {one["champion"] for one in told} == {registry.champion(lake)}

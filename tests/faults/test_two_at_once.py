"""Two runs on one lake at the same time: each answer is generated once, and both succeed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster.lake.tables import COMPLETIONS
from cluster.storage import Storage


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
        jobs = [both.submit(site.succeed, world.generate()) for world in (here, there)]
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


def test_two_collects_at_once_on_s3(words, fresh, s3_root, site, prefect) -> None:
    site.echo.forget()
    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(lambda _: site.cli("collect", *words, prefect=prefect), range(2)))
    for run in runs:
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout.splitlines()[-1])["lake"] == s3_root
    log = site.echo.generated()
    assert len(log) == len(set(log)) == 60
    world = replace(fresh, root=s3_root)
    assert world.lake.read(COMPLETIONS).height == 60
    assert set(world.facts()) >= {"queries", "completions", "rewards", "tags", "candidates"}
    site.echo.forget()
    again = site.cli("collect", *words, prefect=prefect)
    assert again.returncode == 0, again.stderr
    assert site.echo.generated() == []
    assert Storage.at(s3_root).list(f"{s3_root}/runs")

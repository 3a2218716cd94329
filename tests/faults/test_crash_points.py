"""Every write boundary of collect: the process dies there, does it again, and nothing shows it."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.crashes import Work, crash_points

# Where a worker dies with a shard that is answered and not yet written.
UNWRITTEN = ("generate.answered", "new.before", "write.beside")
SHARD_ROWS = 8
SUBMIT = """
import sys
from pathlib import Path
from cluster.jobs.client import Listener, run_job
from cluster.jobs.generate import GenerateSpec
spec = GenerateSpec.parse(Path(sys.argv[1]).read_bytes())
run_job(spec, address=sys.argv[2], listener=Listener(log=print, progress=lambda parts: None))
from ray.job_submission import JobSubmissionClient
jobs = JobSubmissionClient(sys.argv[2]).list_jobs()
alive = [job for job in jobs if job.status.value in ("PENDING", "RUNNING")]
assert not alive, f"orphans: {alive}"
"""


def job_of(world, site, *, job: str, of: str = "", **more: Callable[..., Any]) -> Work:
    """One of the three jobs of collect on a lake of its own."""
    spec = getattr(world, job)()
    return Work(
        name=f"collect, {of}{job}",
        root=Path(world.root),
        process=lambda **env: site.job(spec, **env),
        facts=lambda: {name: rows.to_dicts() for name, rows in world.facts().items()},
        **more,
    )


def test_ingest_dies(fresh, site, die_everywhere, tmp_path: Path) -> None:
    world = fresh.copied(tmp_path / "lake")
    die_everywhere(job_of(world, site, job="ingest"))


def test_the_driver_of_generate_dies(ingested, site, die_everywhere, tmp_path: Path) -> None:
    world = ingested.copied(tmp_path / "lake")

    def when_dead() -> set[tuple[str, str, int]]:
        site.wait_for_workers()
        site.echo.forget()
        return world.stored()

    def checked(stored: set[tuple[str, str, int]]) -> None:
        log = site.echo.generated()
        assert not stored.intersection(log), "stored answers were generated again"
        assert len(log) == len(set(log)) == 60 - len(stored)
        site.wait_for_workers()

    die_everywhere(job_of(world, site, job="generate", when_dead=when_dead, checked=checked))


def test_a_worker_of_generate_dies(ingested, site, die_everywhere, tmp_path: Path) -> None:
    world = ingested.copied(tmp_path / "lake")
    site.workers_trace.unlink(missing_ok=True)

    def points() -> list[str]:
        site.wait_for_workers()
        return crash_points(site.workers_trace)

    def once(work: Work, point: str, *, calm: Any) -> None:
        work.restore()
        site.echo.forget()
        with site.worker_failpoint(point):
            work.do()
        log = site.echo.generated()
        assert len(set(log)) == 60
        lost = SHARD_ROWS if point.startswith(UNWRITTEN) else 0
        assert len(log) <= 60 + lost, "more than the shard in work was generated again"
        assert work.facts() == calm
        site.wait_for_workers()

    work = job_of(world, site, job="generate", of="a worker of ")
    die_everywhere(work, points=points, once=once)


def test_label_dies(generated, site, die_everywhere, tmp_path: Path) -> None:
    world = generated.copied(tmp_path / "lake")
    die_everywhere(job_of(world, site, job="label"))


def test_whoever_submits_dies(ingested, site, die_everywhere, tmp_path: Path) -> None:
    """The job, if there is one already, is gone on with; it ends, and no other is left alive."""
    world = ingested.copied(tmp_path / "lake")
    spec = tmp_path / "spec.json"
    spec.write_text(world.generate().model_dump_json())

    def checked(_: None) -> None:
        assert sorted(site.echo.generated()) == sorted(world.stored()), "each key once"

    def process(*, failpoint: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        if not world.stored() and failpoint:
            site.echo.forget()
        words = ("-c", SUBMIT, str(spec), site.address)
        return site.driver(*words, failpoint=failpoint, **env)

    work = job_of(world, site, job="generate", of="submitting ", checked=checked)
    die_everywhere(replace(work, process=process))

"""Every write boundary of collect: the process dies there, does it again, and nothing shows it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.failpoint import TRACE_VARIABLE
from tests.faults.crashes import Work, crash_points, few, rest

PARTS = [pytest.param(few, id="few"), pytest.param(rest, id="rest", marks=pytest.mark.slow)]
FAULT = "SIGKILL at a write boundary"
RETRIED = ("generate.answered", "new.before", "write.beside")


@pytest.fixture(scope="session")
def die_everywhere(fault_table) -> Callable[..., None]:
    """Let work die at a choice of its crash points, one after another."""

    def everywhere(work: Work, *, choose: Callable[..., list[str]], subtests) -> None:
        work.keep()
        calm, points = work.undisturbed()
        assert len(points) > 5
        for point in choose(points):
            with subtests.test(point), fault_table.run(FAULT, where=work.name):
                work.die_and_do_again(point, calm=calm)

    return everywhere


def as_rows(world) -> dict[str, list[Any]]:
    return {name: frame.to_dicts() for name, frame in world.facts().items()}


def job_of(world, site, *, job: str, **more: Callable[..., Any]) -> Work:
    """One of the three jobs of collect on a lake of its own."""
    spec = getattr(world, job)()
    return Work(
        name=f"collect, {job}",
        root=Path(world.root),
        process=lambda **env: site.job(spec, **env),
        facts=lambda: as_rows(world),
        **more,
    )


@pytest.mark.parametrize("choose", PARTS)
def test_ingest_dies(choose, fresh, site, die_everywhere, subtests, tmp_path: Path) -> None:
    world = fresh.copied(tmp_path / "lake")
    die_everywhere(job_of(world, site, job="ingest"), choose=choose, subtests=subtests)


@pytest.mark.parametrize("choose", PARTS)
def test_the_driver_of_generate_dies(
    choose, ingested, site, die_everywhere, subtests, tmp_path: Path
) -> None:
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

    work = job_of(world, site, job="generate", when_dead=when_dead, checked=checked)
    die_everywhere(work, choose=choose, subtests=subtests)


@pytest.mark.parametrize("choose", PARTS)
def test_label_dies(choose, generated, site, die_everywhere, subtests, tmp_path: Path) -> None:
    world = generated.copied(tmp_path / "lake")
    die_everywhere(job_of(world, site, job="label"), choose=choose, subtests=subtests)


@pytest.mark.parametrize("choose", PARTS)
def test_a_worker_of_generate_dies(
    choose, ingested, site, fault_table, subtests, tmp_path: Path
) -> None:
    world = ingested.copied(tmp_path / "lake")
    work = job_of(world, site, job="generate").keep()
    site.workers_trace.unlink(missing_ok=True)
    calm, _ = work.undisturbed()
    site.wait_for_workers()
    points = crash_points(site.workers_trace)
    assert len(points) > 20
    for point in choose(points):
        where = "collect, worker of generate"
        with subtests.test(point), fault_table.run(FAULT, where=where):
            work.restore()
            site.echo.forget()
            with site.worker_failpoint(point):
                work.do()
            log = site.echo.generated()
            assert len(set(log)) == 60
            # Only the shard that was answered and not written is answered again: at most 8 rows.
            assert len(log) <= (68 if point.startswith(RETRIED) else 60)
            assert work.facts() == calm
            site.wait_for_workers()


def test_the_trace_names_every_boundary(ingested, site, tmp_path: Path) -> None:
    """A job's own kinds of object, so that none is written behind the storage's back."""
    world = ingested.copied(tmp_path / "lake")
    trace = tmp_path / "trace"
    spec = world.generate()
    assert site.job(spec, **{TRACE_VARIABLE: str(trace)}).returncode == 0
    kinds = {point.partition("/")[2].partition(":")[0] for point in crash_points(trace)}
    assert kinds >= {"manifest.json", "rows-*.parquet", "*.json"}

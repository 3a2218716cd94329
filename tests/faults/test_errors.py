"""The error budget: failed rows say why, too many fail the run, and only they are run again."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cluster.jobs.run import Run
from cluster.lake.tables import COMPLETIONS


@pytest.fixture
def flaky(ingested, site, tmp_path: Path):
    """Twenty queries, of which three fail while the switch is on, and one candidate."""
    world = replace(ingested, root=str(tmp_path / "lake"), file=tmp_path / "queries.jsonl")
    world = replace(world, candidates=world.candidates[:1])
    texts = [f"number {n}" + " flaky" * (n > 16) for n in range(20)]
    pl.DataFrame({"text": texts, "reference": "1"}).write_ndjson(world.file)
    site.succeed(world.ingest())
    site.echo.forget()
    return world


def errors(world) -> pl.DataFrame:
    return world.lake.read(COMPLETIONS).filter(outcome="error")


def test_failed_rows_within_the_budget_say_why(flaky, site) -> None:
    with site.echo.switch("failing"):
        manifest = site.succeed(flaky.generate(max_error_share=0.15))
    (row,) = manifest["candidates"]
    assert (row["generated"], row["errors"]) == (17, 3)
    assert errors(flaky)["error"].to_list() == ["the switch is on"] * 3
    assert errors(flaky)["text"].null_count() == 3
    label = site.succeed(flaky.label())
    assert label["rewards"]["exact"]["new"] == 17, "errors are missing, not 0"
    site.echo.forget()
    site.succeed(flaky.generate(max_error_share=0.2))
    assert site.echo.generated() == [], "failed rows are run again only when asked for"


def test_too_many_fail_the_run_and_what_succeeded_is_kept(flaky, site) -> None:
    with site.echo.switch("failing"):
        done = site.job(flaky.generate())
    assert done.returncode == 1
    told = Run.of(flaky.generate()).read_error()
    assert told is not None
    assert "3 of 20 rows failed" in told
    assert "--retry-errors" in told
    assert len(flaky.stored()) == 17

    site.echo.forget()
    assert site.job(flaky.generate()).returncode == 1, "the errors are still there"
    assert site.echo.generated() == []

    failed = {("query_id", key) for key in errors(flaky)["query_id"]}
    retry = flaky.generate(retry_errors=True)
    site.crash(retry, failpoint="delete.before")
    site.crash(retry, failpoint="delete.after")
    assert errors(flaky).is_empty()
    manifest = site.succeed(retry)
    assert {("query_id", query) for _, query, _ in site.echo.generated()} == failed
    assert len(site.echo.generated()) == 3
    assert (manifest["candidates"][0]["generated"], len(flaky.stored())) == (3, 20)
    flaky.facts()


def test_a_row_that_always_kills_its_worker_fails_the_run(flaky, site) -> None:
    world = replace(flaky, shard_rows=1)
    lines = world.file.read_text() + '{"text": "poison"}\n{"text": "after"}\n'
    world.file.write_text(lines)
    site.succeed(world.ingest())
    with site.echo.switch("dying"):
        done = site.job(world.generate())
    assert done.returncode == 1
    assert "workers died 4 times" in (Run.of(world.generate()).read_error() or "")
    stored = world.stored()
    site.wait_for_workers()
    site.echo.forget()
    site.succeed(world.generate())
    assert len(world.stored()) == 22
    assert not stored.intersection(site.echo.generated())
    world.facts()

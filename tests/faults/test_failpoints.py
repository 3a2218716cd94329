"""Every write boundary: the process dies there, the same job runs again, and nothing shows it."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest


def slow(*places: str) -> list:
    return [pytest.param(place, marks=pytest.mark.slow) for place in places]


INGEST = [
    "create.after",
    "shard.after_write",
    "commit.before",
    "commit.after",
    "manifest.after",
    *slow("create.before", "shard.before_write", "manifest.before"),
]


@pytest.mark.parametrize("place", INGEST)
def test_ingest_dies(place, fresh, ingested, site, tmp_path: Path) -> None:
    world = fresh.copied(tmp_path / "lake")
    site.crash(world.ingest(), failpoint=place)
    site.succeed(world.ingest())
    world.must_equal(ingested.facts())


# Passes of the driver: the candidates' rows (1), then a commit after every shard (2 to 12).
GENERATE_DRIVER = [
    "commit.after:2",
    "commit.before:5",
    "lease.taken:2",
    "manifest.before",
    *slow("create.before:1", "create.after:1", "shard.before_write:1", "commit.before:1"),
    *slow("create.after:2", "shard.after_write:1", "manifest.after"),
    *slow("commit.after:1", "lease.taken:1", "commit.before:2", "commit.after:5"),
]


@pytest.mark.parametrize("place", GENERATE_DRIVER)
def test_the_driver_of_generate_dies(place, ingested, generated, site, tmp_path: Path) -> None:
    world = ingested.copied(tmp_path / "lake")
    site.crash(world.generate(), failpoint=place)
    stored = world.stored()
    site.echo.forget()
    manifest = site.succeed(world.generate())
    assert not stored.intersection(site.echo.generated()), "stored answers were generated again"
    assert len(site.echo.generated()) == 60 - len(stored)
    assert [row["required"] for row in manifest["candidates"]] == [20, 40]
    world.must_equal(generated.facts())


WORKER = [
    "generate.answered:1",
    "shard.before_write:5",
    "shard.after_write:3",
    *slow("generate.answered:7", "shard.before_write:1", "shard.after_write:1"),
]


@pytest.mark.parametrize("place", WORKER)
def test_a_worker_of_generate_dies(place, ingested, generated, site, tmp_path: Path) -> None:
    world = ingested.copied(tmp_path / "lake")
    site.echo.forget()
    with site.worker_failpoint(place):
        site.succeed(world.generate())
    log = site.echo.generated()
    assert len(set(log)) == 60
    # Only the shard that was answered and not written is answered again: 8 rows.
    assert len(log) == (60 if place.startswith("shard.after_write") else 68)
    world.must_equal(generated.facts())


# Passes of label: what the first scorer is, its rewards, the same of the second and of the taggers.
LABEL = [
    "shard.after_write:2",
    "commit.before:2",
    "commit.after:6",
    *slow(
        "create.after:3",
        "commit.after:2",
        "manifest.after",
        "create.before:2",
        "shard.before_write:2",
        "shard.after_write:6",
        "commit.before:1",
    ),
    *slow("commit.before:4", "commit.after:1", "commit.after:4", "manifest.before"),
]


@pytest.mark.parametrize("place", LABEL)
def test_label_dies(place, generated, labelled, site, tmp_path: Path) -> None:
    world = generated.copied(tmp_path / "lake")
    site.crash(world.label(), failpoint=place)
    site.succeed(world.label())
    world.must_equal(labelled.facts())


def test_dying_again_and_again_still_gets_there(fresh, labelled, site, tmp_path: Path) -> None:
    world = fresh.copied(tmp_path / "lake")
    site.echo.forget()
    site.crash(world.ingest(), failpoint="commit.before")
    site.crash(world.ingest(), failpoint="commit.after")
    site.succeed(world.ingest())
    for turn in (1, 3, 4):
        site.crash(world.generate(), failpoint=f"commit.before:{turn}")
    site.succeed(world.generate())
    site.crash(world.label(), failpoint="commit.before:2")
    site.crash(world.label(), failpoint="commit.after:3")
    site.succeed(world.label())
    world.must_equal(labelled.facts())
    _only_what_is_new_is_generated(world, site)


def _only_what_is_new_is_generated(world, site) -> None:
    """Another run: nothing. Five more queries: theirs. A candidate, a third sample: theirs."""
    site.echo.forget()
    site.succeed(world.generate())
    assert site.echo.generated() == []
    before = world.stored()
    lines = world.file.read_text() + "".join(f'{{"text": "what of {n}?"}}\n' for n in range(5))
    more = replace(world, file=world.file.with_name("more.jsonl"))
    more.file.write_text(lines)
    one, two = world.candidates
    third = one.model_copy(update={"name": "three", "template": "three {text}"})
    more = replace(more, candidates=(one, two.model_copy(update={"samples": 3}), third))
    site.succeed(more.ingest())
    site.succeed(more.generate())
    log = site.echo.generated()
    assert not before.intersection(log)
    assert len(log) == len(set(log)) == 5 * 1 + (5 * 3 + 20 * 1) + 25
    assert more.stored() == before | set(log)
    more.facts()


SUBMIT = """
import sys
from pathlib import Path
from cluster.jobs.client import Listener, run_job
from cluster.jobs.generate import GenerateSpec
spec = GenerateSpec.parse(Path(sys.argv[1]).read_bytes())
run_job(spec, address=sys.argv[2], listener=Listener(log=print, progress=lambda parts: None))
"""


@pytest.mark.parametrize("place", ["submit.after", *slow("submit.spec_written", "submit.before")])
def test_whoever_submits_dies(place, ingested, generated, site, tmp_path: Path) -> None:
    world = ingested.copied(tmp_path / "lake")
    spec = world.generate()
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    site.echo.forget()
    words = ["-c", SUBMIT, str(tmp_path / "spec.json"), site.address]
    assert site.python(*words, failpoint=place).returncode == -signal.SIGKILL
    again = site.python(*words)
    assert again.returncode == 0, again.stderr
    assert sorted(site.echo.generated()) == sorted(generated.stored()), "each key once"
    world.must_equal(generated.facts())

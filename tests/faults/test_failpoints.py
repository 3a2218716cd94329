"""Deaths one upon another, and of whoever submits a job."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest


def slow(*places: str) -> list:
    return [pytest.param(place, marks=pytest.mark.slow) for place in places]


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

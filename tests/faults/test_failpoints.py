"""Deaths one upon another, and what is new afterwards."""

from dataclasses import replace
from pathlib import Path


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

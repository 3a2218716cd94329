"""Requests in parts: killed between two of them, the next run answers what is left and no more."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cluster.lake.tables import COMPLETIONS

PARTS, PART_ROWS = 3, 12


@pytest.mark.parametrize("place", ["commit.before:4", "lease.taken:2"])
def test_a_run_that_dies_between_parts_is_gone_on_with(
    place, ingested, site, tmp_path: Path
) -> None:
    """Two candidates take turns, query by query; shards of 8 rows."""
    world = ingested.copied(tmp_path / "lake")
    ids = [one.candidate_id for one in world.candidates]
    folder = Path(world.root) / "runs" / "route-x" / "answers" / "asked"
    folder.mkdir(parents=True)
    for part in range(PARTS):
        numbers = range(part * PART_ROWS, (part + 1) * PART_ROWS)
        pl.DataFrame(
            {
                "query_id": [f"q{n:03d}" for n in numbers],
                "text": [f"how much is {n}?" for n in numbers],
                "messages": pl.Series([None] * PART_ROWS, dtype=pl.String),
                "candidate_id": [ids[n % 2] for n in numbers],
            }
        ).write_parquet(folder / f"{part:05d}.parquet")
    candidates = tuple(one.model_copy(update={"samples": 1}) for one in world.candidates)
    spec = replace(world, candidates=candidates).generate(requests=str(folder))
    site.crash(spec, failpoint=place)
    stored = world.stored()
    site.echo.forget()
    manifest = site.succeed(spec)
    log = site.echo.generated()
    assert not stored.intersection(log), "stored answers were generated again"
    assert len(log) == len(set(log)) == PARTS * PART_ROWS - len(stored)
    answered = {(candidate, int(query[1:]) % 2) for candidate, query, _ in {*log, *stored}}
    assert answered == {(ids[0], 0), (ids[1], 1)}
    assert [row["done"] for row in manifest["candidates"]] == [18, 18]
    rows = world.lake.read(COMPLETIONS)
    assert rows.height == PARTS * PART_ROWS
    assert not rows.select(COMPLETIONS.key).is_duplicated().any()

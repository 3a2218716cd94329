"""The command that shows tags, and makes a new vocabulary on request."""

from pathlib import Path
from typing import Any

import polars as pl

from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES, RAW_TAGS
from cluster.lake.vocabularies import normalise

SPEC = {"tagger": "own", "version": 1, "writer_id": "w", "vocabulary": {"alpha": 2}}


def write(lake: Lake, *, numbers: range, tag: str) -> None:
    ids = pl.DataFrame({"query_id": [f"q{number}" for number in numbers]})
    queries = ids.with_columns(dataset=pl.lit("toy"), text=pl.col("query_id"), split=pl.lit("test"))
    raw = ids.with_columns(writer_id=pl.lit("w"), place=pl.lit(0), raw_tag=pl.lit(tag))
    for table, rows in ((QUERIES, queries), (RAW_TAGS, raw)):
        append_new(table.conform(rows).collect(), lake=lake, table=table)


def test_tags_are_shown_and_renewed(told: Any, tmp_path: Path) -> None:
    lake, page = Lake.open(tmp_path / "lake"), tmp_path / "out" / "tags.html"
    write(lake, numbers=range(40), tag="sums")
    normalise(lake, name="own", spec=SPEC)
    write(lake, numbers=range(40, 42), tag="verse")
    words = ("tags", "--lake", tmp_path / "lake", "--dataset", "toy")
    shown = told(*words, "--output", page)
    assert shown.manifest["outputs"] == [str(page)]
    assert (shown.manifest["tags"], shown.manifest["tagged"]) == (1, 40)
    assert "1 tags on 40 of 42 queries" in shown.err
    assert page.read_text().startswith("<!doctype html>")
    renewed = told(*words, "--renew")
    assert (renewed.manifest["vocabulary"], renewed.manifest["tags"]) == (2, 2)
    assert "vocabulary 2 of 'own' is in force" in renewed.err
    assert "vocabulary 2 of 'own' stays" in told(*words, "--renew").err


def test_what_is_wrong_is_told(told: Any, tmp_path: Path) -> None:
    write(Lake.open(tmp_path / "lake"), numbers=range(2), tag="sums")
    words = ("tags", "--lake", tmp_path / "lake", "--dataset", "toy")
    told(*words).refused("no tagger was named", "--tagger")
    told(*words, "--output", tmp_path).refused(tmp_path, "is a folder")
    told("tags", "--lake", tmp_path / "none", "--dataset", "toy").refused("no lake here")

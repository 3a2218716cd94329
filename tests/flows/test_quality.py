"""`signalbox quality` and the report that `collect` leaves, as a user has them."""

import json
from pathlib import Path
from typing import Any


def test_a_dataset_is_reported_on_without_ray(toy: Any, told: Any, tmp_path: Path) -> None:
    words = ("quality", "--lake", toy.lake, "--dataset", "toy", "--output", "out")
    result = told(*words)
    manifest = result.manifest
    assert [Path(uri).name for uri in manifest["outputs"]] == ["quality.html", "quality.json"]
    assert (tmp_path / "out" / "quality.html").read_text().startswith("<!doctype html>")
    numbers = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert numbers["queries"] == 300
    assert set(numbers["candidates"]) == {"small", "medium", "large"}
    assert {"measure": "queries", "value": "300"} in manifest["headline"]
    assert "quality.html" in result.err
    assert told(*words).status == 0


def test_what_is_not_there_is_told_before_anything_is_read(
    toy: Any, told: Any, tmp_path: Path
) -> None:
    lake = ("quality", "--lake", toy.lake)
    told(*lake, "--output", "out").refused("dataset 'default' is not in", "toy")
    told(*lake, "--dataset", "toy", "--scorer", "x", "--output", "out").refused("scorer 'x'")
    told(*lake, "--dataset", "toy").refused("--output is missing", status=2)
    told("quality", "--lake", tmp_path / "none", "--output", "out").refused("there is no lake here")
    (tmp_path / "file").touch()
    told(*lake, "--dataset", "toy", "--output", "file").refused("is a file, not a folder")
    assert not (tmp_path / "out").exists()

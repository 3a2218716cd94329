"""A lake with imported tables in it, made without Ray."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.exporters.exporter import Export, ExportRequest, write_export
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.plugins import load_plugin

Imported = Callable[..., Lake]


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """Import a path as the dataset `toy` into a lake of that name."""

    def run(path: Path, *, lake: str = "lake", form: str = "table") -> Lake:
        uri = str(tmp_path / lake)
        spec = ImportSpec(
            lake=uri, format=form, path=str(path), digest=path_digest(str(path)), dataset="toy"
        )
        import_table(spec, Run.of(spec))
        return Lake.open(uri)

    return run


@pytest.fixture
def lake(imported: Imported, tmp_path: Path) -> Lake:
    """Two tasks, three splits, two candidates; tokens and answers of one of them."""
    rows = [
        {
            "text": text,
            "task": task,
            "split": split,
            "reference": "4",
            "small": small,
            "large": large,
            "answer:small": f"so {text}",
            "tokens:small": 7,
            "prompt_tokens:small": 3,
        }
        for text, task, split, small, large in (
            ("one plus one", "math", "train", 1.0, 0.5),
            ("name a bone", "Computer_Science", "train", 0.25, 1.0),
            ("two plus two", "math", "test", 0.0, None),
            ("rhyme on four", "poems", "calibration", 0.0, 1.0),
        )
    ]
    path = tmp_path / "toy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return imported(path)


@pytest.fixture
def exported() -> Callable[..., Export]:
    """Export a lake's `toy`."""

    def run(lake: Lake, *, form: str, output: Path | str = "", **request: Any) -> Export:
        exporter = load_plugin("exporters", name=form)()
        asked = ExportRequest(**({"dataset": "toy"} | request))
        exporter.check(asked, lake=lake)
        made: Export = exporter.export(asked, lake=lake)
        if output:
            write_export(made, str(output))
        return made

    return run

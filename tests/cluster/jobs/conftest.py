"""A lake with a table of scores in it, made without Ray."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS

MakeLake = Callable[..., str]


def table_of_scores(n: int = 240, *, seed: int = 0) -> dict[str, Any]:
    """Three tasks told apart by their words: `small` knows sums, `large` words, `both` a bit."""
    rng = np.random.default_rng(seed)
    tasks = np.array(["sum", "word", "rhyme"])[np.arange(n) % 3]
    words = {
        "sum": "what is {} plus {}",
        "word": "spell item{} letter{}",
        "rhyme": "rhyme on {} {}",
    }
    pairs = rng.integers(0, 9999, size=(n, 2)).tolist()
    chance = {"sum": (0.9, 0.2, 0.6), "word": (0.1, 0.9, 0.6), "rhyme": (0.5, 0.5, 0.6)}
    scores = rng.random((n, 3)) < np.array([chance[task] for task in tasks])
    splits = np.array(["train", "train", "train", "validation", "test"])
    return {
        "text": [words[task].format(*pair) for task, pair in zip(tasks, pairs, strict=True)],
        "task": tasks.tolist(),
        "split": splits[np.arange(n) // 3 % 5].tolist(),
        **{
            name: scores[:, column].astype(float).tolist()
            for column, name in enumerate(("small", "large", "both"))
        },
    }


@pytest.fixture
def make_lake(tmp_path: Path) -> MakeLake:
    """Put tables into a lake, each under its name; returns the lake."""

    def make(**tables: Mapping[str, Sequence[Any]]) -> str:
        lake = str(tmp_path / "lake")
        for name, rows in tables.items():
            path = tmp_path / f"{name}.jsonl"
            pl.DataFrame(rows, strict=False).write_ndjson(path)
            spec = ImportSpec(
                lake=lake,
                format="table",
                path=str(path),
                digest=path_digest(str(path)),
                dataset=name,
            )
            import_table(spec, Run.of(spec))
        return lake

    return make


def versions(lake: str) -> dict[str, int]:
    """The tables of a lake as they are now."""
    return Lake.open(lake).versions(INPUTS)


@pytest.fixture
def scores() -> Callable[..., dict[str, Any]]:
    return table_of_scores


@pytest.fixture
def versions_of() -> Callable[[str], dict[str, int]]:
    return versions

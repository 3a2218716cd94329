"""One night of two candidates, and what it leaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import registry
from cluster.lake.lake import Lake
from cluster.lake.tables import TABLES
from tests.night_world import write_candidates, write_queries

# A tenth is the snapshot: enough for the gate to be sure at the level of a first look.
QUERIES = 600
# What another night, or another try at this one, says otherwise.
VOLATILE = {"event_id", "at", "seconds", "who", "run"}


def night(folder: Path, *, lake: str, ray_address: str) -> list[str]:
    """The words of a command: a night with one new file, which is written to a folder."""
    watch = folder / "watch"
    write_queries(watch, name="monday", n=QUERIES, seed=1)
    candidates = write_candidates(folder)
    told = ["--lake", lake, "--ray-address", ray_address]
    return ["retrain", "--watch", str(watch), "--candidates", str(candidates), *told]


def answered(folder: Path) -> list[str]:
    """Every answer that the candidates of a folder have given, as they wrote it down."""
    return [line for file in _logs(folder) for line in file.read_text().splitlines()]


def forget_answers(folder: Path) -> None:
    """The candidates begin anew."""
    for file in _logs(folder):
        file.unlink()


def _logs(folder: Path) -> list[Path]:
    return [file for name in ("sum", "word") if (file := folder / f"{name}.log").exists()]


def facts_of(lake: Lake) -> Callable[[], dict[str, Any]]:
    """Every table's rows by their keys, the nights' verdicts, and the champion."""

    def facts() -> dict[str, Any]:
        found: dict[str, Any] = {"champion": registry.champion(lake)}
        for summary in lake.summaries():
            table = TABLES[summary.table]
            rows = lake.read(table)
            assert not rows.select(table.key).is_duplicated().any(), f"doubled: {table.name}"
            kept = [name for name in rows.columns if name not in VOLATILE]
            found[table.name] = rows.select(kept).sort(kept).to_dicts()
        files = [uri for uri, _ in lake.storage.list(lake.storage.join("nights"))]
        manifests = [uri for uri in files if uri.endswith("/manifest.json")]
        verdicts = [json.loads(lake.storage.read_bytes(uri))["verdict"] for uri in manifests]
        # Killed behind its last write a night is done, and the next run is another night's.
        found["nights"] = [verdict for verdict in verdicts if verdict != "nothing new"]
        return found

    return facts

"""snapshot create, list, show; labels list, release: what the gate measures by and what it keeps
out."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from cluster.gate.admitted import admissions, release
from cluster.gate.frozen import candidates_of
from cluster.gate.snapshot import Measure, Snapshot, freeze, load_snapshot, snapshots
from cluster.gate.spending import looks
from cluster.lake.lake import Lake
from flows.params import (
    NormalisationField,
    ScorerField,
    TemperatureField,
    lake_field,
)


class _SnapshotParams(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = lake_field()


class CreateParams(_SnapshotParams):
    """Freeze the test queries of a dataset, with their outcomes, for the gate to measure by."""

    dataset: str = Field(
        default="default", min_length=1, title="Dataset", description="Whose test queries"
    )
    scorer: ScorerField = ""
    normalisation: NormalisationField = "none"
    temperature: TemperatureField = 1.0
    name: str = Field(
        default="",
        title="Name",
        description="Of the snapshot. Empty: the dataset's with a running number",
    )


class ListParams(_SnapshotParams):
    """List the snapshots, oldest first."""


class ShowParams(_SnapshotParams):
    """Show one snapshot: what is in it, and the looks that were spent on it."""

    name: str = Field(min_length=1, title="Name", description="Of the snapshot")


class LabelsParams(_SnapshotParams):
    """List the batches of labels that were looked at, and which were refused."""


class ReleaseParams(_SnapshotParams):
    """Let the labels of a refused batch be learned from after all."""

    batch: str = Field(min_length=1, title="Batch", description="Its name, as 'labels list' has it")
    why: str = Field(
        default="released by hand", title="Why", description="The reason, kept with the event"
    )


def create(params: CreateParams) -> dict[str, Any]:
    """Freeze a snapshot; the newest of a dataset is the one that the gate takes.

    Raises:
        InputError: no such dataset or scorer, too few test queries, or the name is taken.
    """
    lake = Lake.open(params.lake, create=False)
    measure = Measure(params.dataset, params.scorer, params.normalisation, params.temperature)
    return _told(freeze(lake, measure=measure, name=params.name))


def list_snapshots(params: ListParams) -> dict[str, Any]:
    """Print one line a snapshot on stderr; returns the same as data."""
    lake = Lake.open(params.lake, create=False)
    found = snapshots(lake)
    spent = {one.name: looks(lake, snapshot=one.name).height for one in found}
    shown = Table("snapshot", "dataset", "scorer", "queries", "candidates", "looks", "frozen")
    for one in found:
        numbers = (one.rows, len(one.outcomes), spent[one.name])
        shown.add_row(one.name, one.dataset, one.scorer, *map(str, numbers), one.at)
    Console(stderr=True).print(shown)
    return {"snapshots": [_told(one) | {"looks": spent[one.name]} for one in found]}


def show(params: ShowParams) -> dict[str, Any]:
    """Print the looks at a snapshot on stderr; returns them with what is in it.

    Raises:
        InputError: no such snapshot.
    """
    lake = Lake.open(params.lake, create=False)
    snapshot = load_snapshot(lake, name=params.name)
    spent = looks(lake, snapshot=snapshot.name)
    shown = Table("look", "at", "level", "version", "came to", "why", title=snapshot.name)
    for row in spent.iter_rows(named=True):
        came_to = {None: "not decided", "": "kept"}.get(row["how"], row["how"])
        shown.add_row(
            str(row["look"]),
            row["at"],
            f"{row['level']:.4g}",
            row["version"][:12],
            came_to,
            row["why"],
        )
    Console(stderr=True).print(shown)
    names = [name for name, _ in candidates_of(lake, snapshot=snapshot).values()]
    return _told(snapshot) | {"candidates": sorted(names), "looks": spent.to_dicts()}


def list_labels(params: LabelsParams) -> dict[str, Any]:
    """Print one line a batch on stderr; returns the same as data."""
    rows = admissions(Lake.open(params.lake, create=False))
    shown = Table("batch", "labels", "verdict", "why", "released")
    for row in rows.iter_rows(named=True):
        released = row["released"] or ""
        shown.add_row(row["batch"], str(row["labels"]), row["verdict"], row["why"], released)
    Console(stderr=True).print(shown)
    return {"batches": rows.to_dicts()}


def release_labels(params: ReleaseParams) -> dict[str, Any]:
    """Release a batch: its rewards are outcomes again from now on.

    Raises:
        InputError: no such batch was refused.
    """
    release(Lake.open(params.lake, create=False), batch=params.batch, why=params.why)
    return {"batch": params.batch, "released": True, "why": params.why}


def _told(snapshot: Snapshot) -> dict[str, Any]:
    own = snapshot.model_dump(mode="json", exclude={"outcomes", "queries"})
    return own | {"digest": snapshot.digest}

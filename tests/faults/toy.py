"""A small lake of scores, and the spec of a training on it."""

from pathlib import Path

import polars as pl

from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS
from cluster.lake.tables import EVALUATIONS
from tests.scores import scores


def toy_lake(root: str, *, folder: Path) -> Lake:
    """Three tasks, two candidates, every query scored; the table is written to a folder."""
    file = folder / "scores.csv"
    scores(120).write_csv(file)
    spec = ImportSpec(
        lake=root,
        format="table",
        path=str(file),
        digest=path_digest(str(file)),
        dataset="toy",
    )
    import_table(spec, Run.of(spec))
    return Lake.open(root)


def train_spec(lake: Lake) -> TrainSpec:
    """Two methods, one of them by gradient."""
    return TrainSpec(
        lake=lake.storage.uri,
        methods=("knn", "mf"),
        dataset="toy",
        scorer="",
        normalisation="none",
        candidates=(),
        prices={},
        champion=None,
        seed=0,
        inputs=lake.versions(INPUTS),
        settings={"knn": {"k": 5}, "mf": {"epochs": 3, "noise": 0.0}},
    )


def trained(lake: Lake) -> tuple[pl.DataFrame, dict[str, bytes]]:
    """What a training has left that does not tell of its lake: metrics, and checkpoints' files."""
    rows = lake.read(EVALUATIONS)
    assert not rows.select(EVALUATIONS.key).is_duplicated().any()
    # Baselines have no version; the run's name stands for one, and a run is one of its lake.
    rows = rows.with_columns(pl.col("version").str.replace("^train-.*", "train"))
    root = lake.storage.join("checkpoints")
    files = [uri for uri, _ in lake.storage.list(root)]
    kept = {uri.removeprefix(root): lake.storage.read_bytes(uri) for uri in files}
    return rows.sort(EVALUATIONS.key), kept

"""train across nodes, of which one dies: the very same router, and no epoch is lost but one."""

import json
from pathlib import Path

import polars as pl
import pytest

from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS

EPOCHS = 10
SETTINGS = {
    "epochs": EPOCHS,
    "patience": EPOCHS,
    "batch_size": 64,
    "micro_batch": 16,
    "hidden": 16,
    "precision": "fp32",
    "ranking_weight": 0.0,
}


def lake_of_scores(folder: Path) -> str:
    """900 sums and words, of which `small` knows the sums and `large` the words."""
    kinds = [("sum", "what is {0} plus {0}", 1.0, 0.0), ("word", "spell the word {0}", 0.0, 1.0)]
    rows = [
        {"text": words.format(number), "task": task, "small": small, "large": large}
        for number in range(450)
        for task, words, small, large in kinds
    ]
    splits = ["train", "train", "train", "validation", "test"]
    frame = pl.DataFrame(rows)
    frame.with_columns(
        split=pl.Series([splits[number // 2 % 5] for number in range(len(rows))])
    ).write_ndjson(folder / "scores.jsonl")
    path = str(folder / "scores.jsonl")
    lake = str(folder / "lake")
    spec = ImportSpec(lake=lake, format="table", path=path, digest=path_digest(path), dataset="toy")
    import_table(spec, Run.of(spec))
    return lake


@pytest.fixture
def spec_of(tmp_path: Path):
    """A spec of the same training in a lake of its own."""

    def spec(name: str) -> TrainSpec:
        (tmp_path / name).mkdir()
        lake = lake_of_scores(tmp_path / name)
        return TrainSpec(
            lake=lake,
            methods=("multihead",),
            dataset="toy",
            scorer="",
            normalisation="none",
            candidates=(),
            prices={},
            champion=None,
            seed=0,
            inputs=Lake.open(lake).versions(INPUTS),
            settings={"multihead": SETTINGS},
            workers=2,
        )

    return spec


def epochs(spec: TrainSpec) -> int:
    """How many the run has told of."""
    parts = {part.unit: part for part in Run.of(spec).read_progress()}
    return parts["epochs at most"].done if "epochs at most" in parts else 0


def router_of(spec: TrainSpec) -> dict:
    manifest = Run.of(spec).read_manifest()
    assert manifest is not None
    (router,) = manifest["routers"]
    return router


def test_a_node_dies_and_another_comes(spec_of, nodes, until, fault_table) -> None:
    calm, hit = spec_of("calm"), spec_of("hit")
    nodes.have(2)
    with nodes.doing(calm):
        pass
    with fault_table.run("a node is killed, another comes", where="train"):
        with nodes.doing(hit):
            until(lambda: epochs(hit) >= 3)
            assert epochs(hit) < EPOCHS, "it was over before the node died"
            nodes.kill(nodes.alive[0])
            nodes.add()
        told = router_of(hit)
        assert told["version"] == router_of(calm)["version"]
        assert json.dumps(told["metrics"]) == json.dumps(router_of(calm)["metrics"])

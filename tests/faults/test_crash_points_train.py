"""Every write boundary of train, of its registration and of its promotion."""

from pathlib import Path
from typing import Any

import pytest

from cluster import registry
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.tables import EVALUATIONS
from tests.faults.crashes import Work
from tests.faults.toy import toy_lake, train_spec

# Every epoch is kept, as if it had taken a minute.
TRAIN = """
from cluster.jobs.fitting import on_cluster
from cluster.jobs.run import main
from cluster.jobs.train import TrainSpec, train
from cluster.training import kept
kept.SECONDS_APART = 0.0
main(TrainSpec, work=on_cluster(train))
"""
# What the flow does with a trained router.
PROMOTE = """
import sys
from cluster.lake.lake import Lake
from cluster.registry import Decision, promote, register
lake, version = Lake.open(sys.argv[1]), sys.argv[2]
where = lake.storage.join("checkpoints", version)
told = {"method": "knn", "dataset": "toy", "metrics": {}, "why": "trained on toy"}
register(lake, version=version, checkpoint=where, **told)
promote(lake, version=version, decide=lambda _: Decision(promote=True, why="better"))
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return toy_lake(str(tmp_path / "work" / "lake"), folder=tmp_path)


def test_train_dies(lake: Lake, site, die_everywhere) -> None:
    spec = train_spec(lake)
    uri = Run.of(spec).write_spec(spec)

    def facts() -> dict[str, Any]:
        """Manifest, checkpoints with what lies beside them, and metrics."""
        assert not list(Path(lake.storage.uri, "runs").rglob("scratch")), "it has served"
        below = Path(lake.storage.uri, "checkpoints").rglob("[!.]*")
        rows = lake.read(EVALUATIONS)
        assert not rows.select(EVALUATIONS.key).is_duplicated().any()
        return {
            "manifest": Run.of(spec).read_manifest(),
            "files": {str(file): file.read_bytes() for file in below if file.is_file()},
            "metrics": rows.sort(EVALUATIONS.key).to_dicts(),
        }

    die_everywhere(
        Work(
            name="train",
            root=Path(lake.storage.uri),
            process=lambda **env: site.driver("-c", TRAIN, uri, **env),
            facts=facts,
        )
    )


def test_registering_and_promoting_dies(lake: Lake, site, die_everywhere) -> None:
    site.driver("-c", PROMOTE, lake.storage.uri, "first")

    def facts() -> tuple[list[tuple[str, str]], str | None]:
        events = registry.versions(lake)["version"].to_list()
        history = [
            (version, event)
            for version in events
            for event in registry.history(lake, version=version)["event"]
        ]
        return sorted(history), registry.champion(lake)

    work = Work(
        name="train, registry",
        root=Path(lake.storage.uri),
        process=lambda **env: site.driver("-c", PROMOTE, lake.storage.uri, "second", **env),
        facts=facts,
    )
    die_everywhere(work)
    assert facts()[1] == "second"

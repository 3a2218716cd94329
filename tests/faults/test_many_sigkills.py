"""Real SIGKILLs all along the loop with real vLLM, and an undisturbed loop beside it.

Collect, train and route on one lake; whatever runs is killed at many moments, and the same command
is told again until it ends well. No kill may leave a process, and none may change a result.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from cluster.candidate import load_candidates
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, REWARDS, TAGS

from .killing import DEMO, Command, command, is_loading, write_candidates

QUERIES, SAMPLES, SHARD_ROWS, EPOCHS = 240, 2, 16, 60
NAMES = ("abacus", "scribe")
WORKER, DRIVER = "ray::GenerateWorker", "cluster.jobs.generate"
LABEL, TRAIN, RANK = "cluster.jobs.label", "cluster.jobs.train", "TrainWorker"
SETTINGS = {
    "multihead": {
        "epochs": EPOCHS,
        "patience": EPOCHS,
        "hidden": 16,
        "ranking_weight": 0.0,
        "precision": "fp32",
    }
}
pytestmark = pytest.mark.slow


@dataclass
class Loop:
    """The three commands on a lake of their own."""

    folder: Path
    shared: Path
    env: dict[str, str]

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def collect(self) -> Any:
        words = ["--queries", str(self.shared / "queries.jsonl"), "--dataset", "d"]
        words += ["--candidates", str(self.shared / "candidates.yaml")]
        words += ["--scorers", "exact", "--shard-rows", str(SHARD_ROWS)]
        return self._command("collect", *words)

    def train(self) -> Any:
        words = ["--methods", "multihead", "--dataset", "d", "--workers", "2"]
        return self._command("train", *words, "--settings", str(self.shared / "settings.yaml"))

    def route(self, router: str) -> Any:
        words = ["--input", str(self.shared / "asked.jsonl"), "--text-column", "text"]
        words += ["--output", str(self.folder / "routed.parquet"), "--router", router]
        words += ["--policy", "best", "--answer", "-1"]
        return self._command("route", *words)

    def _command(self, *words: str) -> Any:
        return command(*words, "--lake", str(self.lake), env=self.env)

    def shards(self, candidate_id: str = "*") -> int:
        return len(list(self.lake.glob(f"completions/candidate_id={candidate_id}/shard-*.parquet")))

    def epochs(self) -> int:
        """How many the last training has told of."""
        told = [
            json.loads(file.read_text()) for file in self.lake.glob("runs/train-*/progress.json")
        ]
        return max(
            (p["done"] for t in told for p in t["parts"] if "epochs" in p["unit"]), default=0
        )

    def keys(self) -> set[tuple[Any, ...]]:
        """Every completion that a file holds, committed or staged."""
        files = self.lake.glob("completions/*/*.parquet")
        keys = ["query_id", "sample"]
        return {
            (file.parent.name, *row)
            for file in files
            for row in pl.read_parquet(file, hive_partitioning=False).select(keys).rows()
        }

    def facts(self) -> dict[str, pl.DataFrame]:
        """What must be equal whatever happened on the way, with no key twice."""
        lake, facts = Lake.open(str(self.lake)), {}
        for table in (COMPLETIONS, REWARDS, TAGS):
            rows = lake.read(table).drop("seconds", strict=False)
            assert not rows.select(table.key).is_duplicated().any(), f"doubled: {table.name}"
            facts[table.name] = rows.sort(table.key)
        return facts


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both loops are told."""
    folder = tmp_path_factory.mktemp("shared")
    write_candidates(folder / "candidates.yaml", samples=SAMPLES, names=NAMES)
    lines = (DEMO / "questions" / "collect.jsonl").read_text().splitlines()
    (folder / "queries.jsonl").write_text("\n".join(lines[:QUERIES]))
    (folder / "asked.jsonl").write_text("\n".join(lines[QUERIES : 2 * QUERIES]))
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


@pytest.fixture(scope="module")
def loops(shared: Path, prefect, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Loop]:
    env = os.environ | prefect | {"OMP_NUM_THREADS": "1"}
    env |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    return lambda name: Loop(tmp_path_factory.mktemp(name), shared, env)


@pytest.fixture(scope="module")
def calm(loops: Callable[[str], Loop]) -> tuple[Loop, dict[str, Any], dict[str, Any]]:
    """The loop undisturbed: what training and routing told at its end."""
    loop = loops("calm")
    with loop.collect() as run:
        run.succeeds()
    with loop.train() as run:
        trained = run.succeeds()
    with loop.route(trained["routers"][0]["version"]) as run:
        return loop, trained, run.succeeds()


@pytest.fixture(scope="module")
def hit(loops: Callable[[str], Loop]) -> Loop:
    return loops("hit")


def test_collect(*, hit: Loop, request: pytest.FixtureRequest, fault_table) -> None:
    first, second = (one.candidate_id for one in load_candidates(hit.shared / "candidates.yaml"))
    place = "collect, real vLLM"

    def loading(run: Command) -> None:
        run.until(lambda: any(is_loading(pid) for pid in run.those(WORKER)))

    def some_more(run: Command, *, of: str) -> None:
        before = hit.shards(of)
        run.until(lambda: hit.shards(of) >= max(before, 1) + 1)

    with hit.collect() as run:
        with fault_table.run("SIGKILL of the worker while it loads vLLM", where=place):
            loading(run)
            dead = run.kill(WORKER)
            run.until(lambda: any(pid != dead for pid in run.those(WORKER)))
        with fault_table.run("SIGKILL of the engine while it answers", where=place):
            some_more(run, of=first)
            before = hit.keys()
            run.kill(WORKER)
            some_more(run, of=first)
            assert before < hit.keys()
        with fault_table.run("SIGKILL of the driver of generate", where=place):
            run.kill(DRIVER)
            run.fails()
    with (
        fault_table.run("SIGKILL of the flow while vLLM is loaded", where=place),
        hit.collect() as run,
    ):
        loading(run)
        run.kill_all()
    with hit.collect() as run:
        with fault_table.run("SIGKILL of the engine in the second candidate", where=place):
            some_more(run, of=second)
            run.kill(WORKER)
            some_more(run, of=second)
        with fault_table.run("SIGKILL of the flow in the second candidate", where=place):
            run.kill_all()
    stored = hit.keys()
    assert 0 < len(stored) < QUERIES * SAMPLES * len(NAMES)
    with (
        fault_table.run("SIGKILL of the driver of label", where=place),
        hit.collect() as run,
    ):
        run.until(lambda: bool(run.those(LABEL)))
        run.kill(LABEL)
        run.fails()
    with fault_table.run("all of these, then told again", where=place):
        with hit.collect() as run:
            generated = run.succeeds()["generate"]["candidates"]
        assert sum(row["generated"] for row in generated) == 0, "label came after all answers"
        calm = request.getfixturevalue("calm")
        assert stored < hit.keys() == calm[0].keys()
        for name, rows in calm[0].facts().items():
            assert hit.facts()[name].equals(rows), f"{name} differs from the undisturbed loop's"


def test_train(*, hit: Loop, calm, fault_table) -> None:
    place = "train on two workers, outcomes of real vLLM"

    def more_epochs(run: Command) -> None:
        before = hit.epochs()
        run.until(lambda: hit.epochs() > before)

    with hit.train() as run:
        for rank in (1, 0):
            with fault_table.run(f"SIGKILL of training rank {rank}", where=place):
                more_epochs(run)
                run.kill(RANK, place=rank)
        with fault_table.run("SIGKILL of the driver of train", where=place):
            more_epochs(run)
            run.kill(TRAIN)
            run.fails()
    kept = hit.epochs()
    with (
        fault_table.run("SIGKILL of the flow while it trains", where=place),
        hit.train() as run,
    ):
        run.until(lambda: hit.epochs() > kept)
        run.kill_all()
    with fault_table.run("all of these, then told again", where=place):
        with hit.train() as run:
            told = run.succeeds()
        router, undisturbed = told["routers"][0], calm[1]["routers"][0]
        assert router["version"] == undisturbed["version"]
        assert router["metrics"] == undisturbed["metrics"]


def test_route(*, hit: Loop, calm, fault_table) -> None:
    router = calm[1]["routers"][0]["version"]
    place = "route with answers, real vLLM"
    before = hit.shards()
    with fault_table.run("SIGKILL of the engine while it answers", where=place):
        with hit.route(router) as run:
            run.until(lambda: hit.shards() > before)
            run.kill(WORKER)
            told = run.succeeds()
        assert told["rows"] == calm[2]["rows"]
        assert hit.facts()["completions"].equals(calm[0].facts()["completions"])
        outputs = zip(told["outputs"], calm[2]["outputs"], strict=True)
        assert all(Path(one).read_bytes() == Path(other).read_bytes() for one, other in outputs)

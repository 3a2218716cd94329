"""Real SIGKILLs all along the loop with real vLLM, and an undisturbed loop beside it.

Collect, train and route, each from where the undisturbed loop began it; whatever runs is killed at
many moments, and the same command is told again until it ends well. No kill may leave a process,
and none may change a result.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from cluster.candidate import load_candidates
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, REWARDS, TAGS

from .killing import (
    DEMO,
    PATIENCE_SECONDS,
    Command,
    command,
    is_loading,
    living,
    write_candidates,
)

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
    """The three commands on a lake of their own.

    Attributes:
        left: processes that end a while after the command that was killed: start time by pid.
    """

    folder: Path
    shared: Path
    env: dict[str, str]
    left: dict[int, str] = field(default_factory=dict)

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
def loop_at(shared: Path, prefect, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loop]:
    """A loop with an empty lake, or with a copy of one."""
    env = os.environ | prefect | {"OMP_NUM_THREADS": "1"}
    env |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}

    def begin(name: str, *, lake: Path | None = None) -> Loop:
        loop = Loop(tmp_path_factory.mktemp(name), shared, env)
        if lake is not None:
            shutil.copytree(lake, loop.lake)
            shutil.rmtree(loop.lake / "runs", ignore_errors=True)
        return loop

    return begin


@dataclass(frozen=True)
class Calm:
    """The loop undisturbed: its lake before each command, and what the commands told at their end.

    Attributes:
        loop: the lake after routing.
        collected, trained: lakes as they were after collect, and after train.
        training, routing: manifests.
    """

    loop: Loop
    collected: Loop
    trained: Loop
    training: dict[str, Any]
    routing: dict[str, Any]

    @property
    def router(self) -> dict[str, Any]:
        (router,) = self.training["routers"]
        return router


@pytest.fixture(scope="module")
def calm(loop_at: Callable[..., Loop]) -> Calm:
    loop = loop_at("calm")
    with loop.collect() as run:
        run.succeeds()
    collected = loop_at("collected", lake=loop.lake)
    with loop.train() as run:
        training = run.succeeds()
    trained = loop_at("trained", lake=loop.lake)
    with loop.route(training["routers"][0]["version"]) as run:
        return Calm(loop, collected, trained, training, run.succeeds())


def test_collect(*, calm: Calm, loop_at, until, fault_table) -> None:
    hit = loop_at("hit")
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
        hit.left |= run.kill_all()
    with hit.collect() as run:
        with fault_table.run("SIGKILL of the engine in the second candidate", where=place):
            some_more(run, of=second)
            run.kill(WORKER)
            some_more(run, of=second)
        with fault_table.run("SIGKILL of the flow in the second candidate", where=place):
            hit.left |= run.kill_all()
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
        assert stored < hit.keys() == calm.collected.keys()
        for name, rows in calm.collected.facts().items():
            assert hit.facts()[name].equals(rows), f"{name} differs from the undisturbed loop's"
        until(lambda: not living(hit.left), seconds=PATIENCE_SECONDS)


def test_train(*, calm: Calm, loop_at, until, fault_table) -> None:
    hit = loop_at("hit", lake=calm.collected.lake)
    place = "train on two workers, outcomes of real vLLM"

    def more_epochs(run: Command) -> None:
        before = hit.epochs()
        run.until(lambda: hit.epochs() > before)

    with hit.train() as run:
        for place_of_rank, name in enumerate(("one of two ranks", "the other rank, an epoch on")):
            with fault_table.run(f"SIGKILL of {name}", where=place):
                more_epochs(run)
                run.kill(RANK, place=place_of_rank)
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
        hit.left |= run.kill_all()
    with fault_table.run("all of these, then told again", where=place):
        with hit.train() as run:
            told = run.succeeds()
        (router,) = told["routers"]
        assert router["version"] == calm.router["version"]
        assert json.dumps(router["metrics"]) == json.dumps(calm.router["metrics"])
        until(lambda: not living(hit.left), seconds=PATIENCE_SECONDS)


def test_route(*, calm: Calm, loop_at, until, fault_table) -> None:
    hit = loop_at("hit", lake=calm.trained.lake)
    router = calm.router["version"]
    place = "route with answers, real vLLM"

    def loading(run: Command, *, but: int = 0) -> None:
        run.until(lambda: any(is_loading(pid) for pid in run.those(WORKER) if pid != but))

    with hit.route(router) as run:
        with fault_table.run("SIGKILL of the engine that is to answer", where=place):
            loading(run)
            dead = run.kill(WORKER)
            loading(run, but=dead)
        with fault_table.run("SIGKILL of the flow while the next one loads", where=place):
            hit.left |= run.kill_all()
    with fault_table.run("both of these, then told again", where=place):
        with hit.route(router) as run:
            told = run.succeeds()
        assert told["rows"] == calm.routing["rows"]
        assert hit.facts()["completions"].equals(calm.loop.facts()["completions"])
        assert written(hit) == written(calm.loop)
        until(lambda: not living(hit.left), seconds=PATIENCE_SECONDS)


def written(loop: Loop) -> dict[str, bytes]:
    """The routed rows, and those with their answers."""
    files = sorted(loop.folder.glob("routed*.parquet"))
    assert len(files) == 2
    return {file.name: file.read_bytes() for file in files}

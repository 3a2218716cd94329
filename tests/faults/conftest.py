"""A living Ray cluster that other processes crash on, and a look at what they left in the lake."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.candidate import Candidate
from cluster.failpoint import FILE_VARIABLE, FIRED, TRACE_VARIABLE, VARIABLE
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.ingest import IngestSpec, pin_files
from cluster.jobs.label import LabelSpec
from cluster.jobs.run import Run
from cluster.jobs.spec import JobSpec
from cluster.labels import Label
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, QUERIES, TABLES
from cluster.storage import Storage
from tests.faults.bad_store import BadStore, bad_store
from tests.faults.crashes import Work, few, rest
from tests.faults.forks import Drivers, drivers
from tests.prefect_server import prefect_server

PLUGINS = Path(__file__).parents[1] / "plugins"
PATIENCE_SECONDS = 60.0
# Stays alive until its stdin closes, which it does when the tests end, however they do.
RAY = """
import json, pathlib, sys, tempfile
from cluster.ray_cluster import prepare_environment
prepare_environment()
from ray.cluster_utils import Cluster
folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
head = {
    "temp_dir": folder.name,
    "num_cpus": 2,
    "object_store_memory": 128 * 2**20,
    "include_dashboard": True,
    "dashboard_port": None,
    "dashboard_agent_listen_port": 0,
}
cluster = Cluster(initialize_head=True, head_node_args=head)
# Where Ray looks up which cluster a job belongs to.
pathlib.Path(folder.name, "ray_current_cluster").write_text(cluster.address)
print(json.dumps(["http://" + cluster.webui_url, cluster.address]), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass
class Echo:
    """The folder the echo engine is steered by."""

    folder: Path
    mark: int = 0

    @contextlib.contextmanager
    def switch(self, name: str) -> Iterator[None]:
        """`failing` or `dying`, while the block lasts."""
        (self.folder / name).touch()
        yield
        (self.folder / name).unlink()

    def generated(self) -> list[tuple[str, str, int]]:
        """(candidate_id, query_id, sample) of every answer since the last `forget`."""
        lines = (line.split() for line in self._lines()[self.mark :])
        return [(candidate, query, int(sample)) for _, candidate, query, sample in lines]

    def forget(self) -> None:
        self.mark = len(self._lines())

    def _lines(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@dataclass
class Site:
    """A machine with a living Ray cluster, where jobs are run by hand."""

    folder: Path
    echo: Echo
    address: str
    env: dict[str, str]
    failpoints: Path
    drivers: Drivers
    store: BadStore

    @property
    def workers_trace(self) -> Path:
        """The write boundaries that Ray's workers have passed."""
        return self.folder / "workers.trace"

    def job(
        self, spec: JobSpec, *, failpoint: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a job's driver to its end, or to a failpoint."""
        uri = Run.of(spec).write_spec(spec)
        return self.driver("-m", f"cluster.jobs.{spec.job}", uri, failpoint=failpoint, **env)

    def driver(
        self, *words: str, failpoint: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """As `python`, by a fork of a process that has imported everything."""
        return self.drivers.run(words, env={VARIABLE: failpoint} | env)

    def python(self, *words: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        """Run Python with the cluster in its environment."""
        return subprocess.run(
            [sys.executable, *words],
            env=self.env | {VARIABLE: failpoint},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS * 2,
            check=False,
        )

    def cli(self, *words: str, prefect: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a signalbox command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            env=self.env | prefect,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS * 4,
            check=False,
        )

    def succeed(self, spec: JobSpec) -> dict[str, Any]:
        """Run a job; returns its manifest."""
        done = self.job(spec)
        assert done.returncode == 0, done.stderr[-3000:]
        manifest = Run.of(spec).read_manifest()
        assert manifest is not None
        return manifest

    def crash(self, spec: JobSpec, *, failpoint: str) -> None:
        """Run a job that must die at a failpoint, and wait until its workers are gone too."""
        done = self.job(spec, failpoint=failpoint)
        assert done.returncode == -signal.SIGKILL, f"{failpoint} was not passed: {done.stderr}"
        self.wait_for_workers()

    @contextlib.contextmanager
    def worker_failpoint(self, words: str) -> Iterator[None]:
        """Let the first worker that passes a place die there, once; it must be passed."""
        self.failpoints.write_text(words)
        yield
        self.failpoints.unlink(missing_ok=True)
        fired = Path(f"{self.failpoints}{FIRED}")
        assert fired.exists(), f"no worker passed {words}"
        fired.unlink()

    def wait_for_workers(self) -> None:
        """Until no process that ever wrote to the log is alive."""
        log = self.echo.folder / "log"
        pids = {line.split()[0] for line in log.read_text().splitlines()} if log.exists() else ()
        wait_until(lambda: not any(_is_worker(pid) for pid in pids))


def _is_worker(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return b"GenerateWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, s3_environment: dict[str, str]
) -> Iterator[Site]:
    """A cluster of one's own; all on it see the echo engine, and the S3 server through a proxy."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "token").chmod(0o600)
    with bad_store(s3_environment["AWS_ENDPOINT_URL"]) as store:
        yield from _site(folder, s3_environment, store)


def _site(folder: Path, s3_environment: dict[str, str], store: BadStore) -> Iterator[Site]:
    env = os.environ | {
        **s3_environment,
        "AWS_ENDPOINT_URL": store.url,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_DEDUP_LOGS": "0",
        "PYTHONPATH": str(PLUGINS),
        "ECHO_FOLDER": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    env.pop("RAY_ADDRESS", None)
    failpoints = folder / "failpoint"
    with subprocess.Popen(
        [sys.executable, "-c", RAY],
        env=env | {FILE_VARIABLE: str(failpoints), TRACE_VARIABLE: str(folder / "workers.trace")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as ray:
        assert ray.stdout is not None
        address, gcs = json.loads(ray.stdout.readline())
        own = env | {"RAY_ADDRESS": gcs}
        with drivers(own, folder=folder) as forks:
            yield Site(folder, Echo(folder), address, own, failpoints, forks, store)
        assert ray.stdin is not None
        ray.stdin.close()
        ray.wait(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prefect server, and the variables that point to it: commands need not start their own."""
    with prefect_server(tmp_path_factory.mktemp("prefect"), url="") as env:
        yield env


def wait_until(reached: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Wait until something holds."""
    return wait_until


def echo_candidate(name: str, *, seconds: float = 0.0, samples: int = 1) -> Candidate:
    """Names stand in the template, so that two of them are two candidates."""
    return Candidate(
        name=name, engine="echo", model=str(seconds), template=f"{name} {{text}}", samples=samples
    )


@dataclass(frozen=True)
class World:
    """A lake, query files and candidates: the three jobs of collect on them."""

    root: str
    file: Path
    candidates: tuple[Candidate, ...]
    shard_rows: int = 8

    @property
    def lake(self) -> Lake:
        return Lake.open(self.root)

    def ingest(self) -> IngestSpec:
        return IngestSpec(
            lake=Storage.at(self.root).uri,
            files=pin_files(str(self.file)),
            dataset="d",
            text_column="text",
            task_column="task",
            reference_column="reference",
            messages_column="messages",
            max_error_share=0.05,
        )

    def generate(self, **fields: Any) -> GenerateSpec:
        defaults = {"max_error_share": 0.05, "commit_seconds": 0.0, "shard_rows": self.shard_rows}
        return GenerateSpec(
            lake=self.lake.storage.uri,
            candidates=self.candidates,
            dataset="d",
            inputs={"queries": self.lake.version(QUERIES)},
            **(defaults | fields),
        )

    def label(self) -> LabelSpec:
        return LabelSpec(
            lake=self.lake.storage.uri,
            dataset="d",
            scorers=tuple(Label(name=name, method=name) for name in ("exact", "numeric")),
            taggers=tuple(Label(name=name, method=name) for name in ("task", "clusters")),
            inputs=self.lake.versions([QUERIES, COMPLETIONS]),
        )

    def copied(self, target: Path, **fields: Any) -> "World":
        """The same in a copy of the lake."""
        shutil.copytree(self.root, target)
        shutil.rmtree(target / "runs", ignore_errors=True)
        return World(**(vars(self) | {"root": str(target)} | fields))

    def stored(self) -> set[tuple[str, str, int]]:
        """Keys of every completion a file holds, committed or staged, errors left out."""
        keys = set()
        for uri, _ in self.lake.storage.list(self.lake.table_uri(COMPLETIONS)):
            if uri.endswith(".parquet"):
                rows = pl.read_parquet(uri, hive_partitioning=False)
                rows = rows.filter(pl.col("outcome") != "error")
                candidate = uri.split("candidate_id=")[1].split("/")[0]
                keys |= {(candidate, *key) for key in rows.select("query_id", "sample").rows()}
        return keys

    def facts(self) -> dict[str, pl.DataFrame]:
        """What must be equal whatever happened on the way, with no key twice."""
        lake, facts = self.lake, {}
        for summary in lake.summaries():
            table = TABLES[summary.table]
            rows = lake.read(table).drop("seconds", "source", strict=False)
            assert not rows.select(table.key).is_duplicated().any(), f"doubled: {table.name}"
            facts[table.name] = rows.sort(table.key)
        return facts

    def must_equal(self, other: dict[str, pl.DataFrame], *, tables: Sequence[str] = ()) -> None:
        facts = self.facts()
        for name in tables or other:
            assert facts[name].equals(other[name]), f"{name} differs from the undisturbed run's"


def write_queries(path: Path, *, texts: Sequence[str]) -> Path:
    rows = [
        {"text": text, "task": f"task{number % 3}", "reference": str(number)}
        for number, text in enumerate(texts)
    ]
    pl.DataFrame(rows).write_ndjson(path)
    return path


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Twenty queries and two candidates (20 and 40 answers), and an empty lake."""
    folder = tmp_path_factory.mktemp("fresh")
    file = write_queries(folder / "queries.jsonl", texts=[f"how much is {n}?" for n in range(20)])
    candidates = (echo_candidate("one"), echo_candidate("two", samples=2))
    world = World(root=str(folder / "lake"), file=file, candidates=candidates)
    Lake.open(world.root)
    return world


@pytest.fixture(scope="session")
def ingested(fresh: World, site: Site, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The undisturbed run after its first job."""
    world = fresh.copied(tmp_path_factory.mktemp("ingested") / "lake")
    site.succeed(world.ingest())
    return world


@pytest.fixture(scope="session")
def generated(ingested: World, site: Site, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The undisturbed run after its second job."""
    world = ingested.copied(tmp_path_factory.mktemp("generated") / "lake")
    site.succeed(world.generate())
    return world


@pytest.fixture(scope="session")
def labelled(generated: World, site: Site, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The undisturbed run, whole."""
    world = generated.copied(tmp_path_factory.mktemp("labelled") / "lake")
    site.succeed(world.label())
    return world


CHOICES = [pytest.param(few, id="few"), pytest.param(rest, id="rest", marks=pytest.mark.slow)]
FAULT = "SIGKILL at a write boundary"


@pytest.fixture(params=CHOICES)
def die_everywhere(request: pytest.FixtureRequest, fault_table, subtests) -> Callable[..., None]:
    """Let work die at a choice of its crash points, each time from the beginning."""

    def everywhere(
        work: Work,
        *,
        points: Callable[[], Sequence[str]] = list,
        once: Callable[..., None] = Work.die_and_do_again,
    ) -> None:
        work.keep()
        calm, own = work.undisturbed()
        every = points() or own
        assert len(every) > 5
        for point in request.param(every):
            with subtests.test(point), fault_table.run(FAULT, where=work.name):
                once(work, point, calm=calm)

    return everywhere

"""A living Ray cluster that other processes crash on, and a look at what they left in the lake."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.candidate import Candidate
from cluster.failpoint import FILE_VARIABLE, TRACE_VARIABLE
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.ingest import IngestSpec, pin_files
from cluster.jobs.label import LabelSpec
from cluster.labels import Label
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, QUERIES, TABLES
from cluster.storage import Storage
from tests.faults.bad_store import BadStore, bad_store
from tests.faults.crashes import Work, few, rest
from tests.faults.forks import drivers
from tests.faults.site import PATIENCE_SECONDS, Echo, Site, wait_until
from tests.prefect_server import prefect_server

PLUGINS = Path(__file__).parents[1] / "plugins"
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
for turn in range(5):
    try:
        cluster = Cluster(initialize_head=True, head_node_args=head)
        break
    # On a machine with other work Ray's own 30 s for a start are sometimes too few.
    except Exception:
        if turn == 4:
            raise
# Where Ray looks up which cluster a job belongs to.
pathlib.Path(folder.name, "ray_current_cluster").write_text(cluster.address)
print(json.dumps(["http://" + cluster.webui_url, cluster.address]), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


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
        pattern = re.compile(request.config.getoption("--fault-points"))
        for point in filter(pattern.search, request.param(every)):
            with subtests.test(point), fault_table.run(FAULT, where=work.name):
                once(work, point, calm=calm)

    return everywhere

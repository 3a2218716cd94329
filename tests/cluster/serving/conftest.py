"""`signalbox serve` as a user has it, in front of back-ends that behave and of some that do not."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openai
import polars as pl
import psutil
import pytest
import yaml

from cluster import registry
from cluster.gate.decision import Decision
from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn

from .fake_backend import FakeBackend, fake_backend

START_SECONDS = 240
CLIENT_KEY = "planted-client-key-71aa"
BACKEND_KEY = "planted-backend-key-90be"
RELOAD_SECONDS = 0.3
CANDIDATES = ("abacus", "polymath", "poet", "teller")
PRICES = {name: {"input": 1.0, "output": 1.0} for name in CANDIDATES} | {
    "poet": {"input": 10.0, "output": 10.0}
}
# What each candidate earns by kind of query; poems are best by the poet, next by the teller.
KINDS = {
    "add {n} and {m}": (1.0, 0.0, 0.0, 0.0),
    "how many inches are {n} feet": (0.0, 1.0, 0.0, 0.0),
    "a poem on {n} green trees": (0.0, 0.0, 1.0, 0.5),
    "tell a story about {n} old dogs": (0.0, 0.0, 0.5, 1.0),
}
# The other way round for the poet and the teller.
SWAPPED = [0, 1, 3, 2]


def outcomes(*, swapped: bool = False) -> OutcomeMatrix:
    """30 queries a kind."""
    texts = [kind.format(n=n, m=n + 1) for kind in KINDS for n in range(30)]
    reward = np.repeat(np.array(list(KINDS.values())), 30, axis=0)
    reward = reward[:, SWAPPED] if swapped else reward
    queries = pl.DataFrame({"query_id": texts, "task": "t", "split": "train", "text": texts})
    queries = queries.with_columns(dataset=pl.lit("d"), sampling_probability=pl.lit(1.0))
    tokens = np.full(reward.shape, 10.0)
    ids = tuple(f"id-{name}" for name in CANDIDATES)
    return OutcomeMatrix(
        queries, CANDIDATES, ids, reward, tokens, tokens, tokens, tokens, tokens * 0
    )


def register(lake: Lake, *, name: str, swapped: bool, k: int = 5) -> str:
    """Fit and register a router; returns its version."""
    router = Knn(k=k).fit(outcomes(swapped=swapped), seed=0)
    folder = f"{lake.storage.uri}/checkpoints/{name}"
    meta = CheckpointMeta(
        candidate_ids=tuple(f"id-{one}" for one in router.candidates),
        data={"prompt_tokens_per_character": dict.fromkeys(router.candidates, 0.5)},
    )
    version = save_checkpoint(router, folder, meta=meta)
    registry.register(
        lake, version=version, checkpoint=folder, method="knn", dataset="d", metrics={}, why="test"
    )
    return version


def promote(lake: Lake, version: str) -> None:
    registry.promote(lake, version=version, decide=lambda _: Decision(promote=True, why="test"))


@dataclass
class Routers:
    """A lake with two routers; the first is champion at the start."""

    lake: Lake
    first: str
    second: str


@pytest.fixture(scope="session")
def routers(tmp_path_factory: pytest.TempPathFactory) -> Routers:
    lake = Lake.open(str(tmp_path_factory.mktemp("served") / "lake"), create=True)
    first = register(lake, name="first", swapped=False)
    second = register(lake, name="second", swapped=True)
    promote(lake, first)
    return Routers(lake, first, second)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Served:
    """A running `signalbox serve`.

    Attributes:
        url: of the endpoint, without /v1.
        poet, teller: the back-ends that are not real.
        ports: of the real ones, by candidate; nobody may listen there yet.
        files: all that it writes beside the lake: logs of Ray and Serve.
        err: its standard error.
    """

    process: "subprocess.Popen[str]"
    url: str
    poet: FakeBackend
    teller: FakeBackend
    ports: dict[str, int]
    files: Path
    err: Path

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=CLIENT_KEY, max_retries=0)

    def chat(self, text: str, *, model: str = "router", **more: Any) -> Any:
        """The raw response: its headers, and `.parse()`."""
        messages = [{"role": "user", "content": text}]
        return self.client.chat.completions.with_raw_response.create(
            model=model, messages=messages, **more
        )

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return str(response.read().decode())

    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/health")))

    def metric(self, name: str) -> float:
        """The sum of a measure's series; `name` may hold labels."""
        lines = self.get("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.fixture(scope="session")
def served(routers: Routers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    ports = {"abacus": free_port(), "polymath": free_port()}
    with ExitStack() as stack:
        poet, teller = (stack.enter_context(fake_backend(name)) for name in ("poet", "teller"))
        backends = {name: {"url": f"http://127.0.0.1:{ports[name]}/v1"} for name in ports}
        backends["poet"] = {"url": poet.url, "model": "poet-9b", "key_variable": "POET_KEY"}
        backends["teller"] = {"url": teller.url, "timeout_seconds": 2}
        (folder / "backends.yaml").write_text(yaml.safe_dump(backends))
        (folder / "prices.yaml").write_text(yaml.safe_dump(PRICES))
        flags = [
            *("--backends", folder / "backends.yaml", "--prices", folder / "prices.yaml"),
            *("--key-variable", "CLIENT_KEY", "--reload-seconds", RELOAD_SECONDS),
            *("--max-request-bytes", 200_000),
        ]
        with serving(routers.lake, flags, log=folder / "err") as (process, url, files):
            yield Served(process, url, poet, teller, ports, files, folder / "err")


@contextmanager
def serving(
    lake: Lake, flags: list[Any], *, log: Path, **env: str
) -> Iterator[tuple["subprocess.Popen[str]", str, Path]]:
    """The command on a free port, with a folder of its own for all temporary files.

    SIGTERM is its end, unless it has ended before: it must succeed, and leave no process.
    """
    port = free_port()
    # Short: a path of a socket, as Ray puts them there, has at most 107 characters.
    files = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    token = files / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    settings = {
        "TMPDIR": str(files),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "OMP_NUM_THREADS": "1",
        "CLIENT_KEY": CLIENT_KEY,
        "POET_KEY": BACKEND_KEY,
    }
    command = [sys.executable, "-m", "flows.cli", "serve", "--lake", lake.storage.uri]
    command += ["--port", str(port), *map(str, flags)]
    with log.open("w") as err:
        process = subprocess.Popen(
            command, env=os.environ | settings | env, stdout=subprocess.PIPE, stderr=err, text=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process=process, log=log)
        below = psutil.Process(process.pid).children(recursive=True)
        yield process, f"http://127.0.0.1:{port}", files
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            assert json.loads(out)["flow"] == "serve"
            assert psutil.wait_procs(below, timeout=10)[1] == []
    finally:
        if process.poll() is None:
            process.kill()
        shutil.rmtree(files)


def wait_for(url: str, *, process: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"it did not start: {log.read_text()[-3000:]}")

"""The command line as a user has it, with one Prefect server and one Ray cluster for all tests."""

import json
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from tests.night_world import PLUGINS

# A Prefect server that is up in 10 s on an idle machine was seen to take 120 s on a busy one.
START_SECONDS = 400
# Far more than any command here takes; a command that hangs is to fail, not to wait for ever.
COMMAND_SECONDS = 400
# Starts a cluster, tells its address, and ends it when its standard input is closed.
RAY_CLUSTER = """
import sys
from cluster.ray_cluster import cluster_address
with cluster_address() as address:
    print(address, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Result:
    """What a command left: exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of a command that went well: the one line there is on standard output."""
        assert self.status == 0, self.err
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        manifest: dict[str, Any] = json.loads(lines[0])
        return manifest

    def refused(self, *words: object, status: int = 1) -> None:
        """Assert that the command failed with one message that holds all words, and no more."""
        assert self.status == status, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        assert self.err.count("error: ") == 1, self.err
        for word in words:
            assert str(word) in self.err


Signalbox = Callable[..., Result]


def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def private_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that keep Ray's token and Prefect's profile of the tests to themselves, and let
    every process find the engines of tests/plugins."""
    folder = tmp_path_factory.mktemp("home")
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(PLUGINS),
    }


@contextmanager
def running(command: list[str], *, env: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A process for the length of a block, ended by closing its input and SIGTERM."""
    process = subprocess.Popen(
        command,
        env=os.environ | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate(timeout=START_SECONDS)


@pytest.fixture(scope="session")
def ray_address(private_home: dict[str, str], s3_environment: dict[str, str]) -> Iterator[str]:
    """Dashboard address of a real Ray cluster, whose jobs reach the tests' S3."""
    env = private_home | s3_environment
    with running([sys.executable, "-c", RAY_CLUSTER], env=env) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), "the Ray cluster did not start"
        yield address


@pytest.fixture(scope="session")
def prefect_api(private_home: dict[str, str]) -> Iterator[str]:
    """API address of a real Prefect server."""
    port = closed_port()
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running([sys.executable, "-m", *command], env=private_home) as process:
        url = f"http://127.0.0.1:{port}/api"
        try:
            _wait_until_healthy(url, process=process)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)


def _wait_until_healthy(url: str, *, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Prefect server ended"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("the Prefect server did not start")


@pytest.fixture(scope="session")
def signalbox(ray_address: str, prefect_api: str, private_home: dict[str, str]) -> Signalbox:
    """Run a command in a process of its own, on the shared server and cluster."""
    services = {"PREFECT_API_URL": prefect_api, "SIGNALBOX_RAY_ADDRESS": ray_address}

    def run(*arguments: object, cwd: Path | None = None, **env: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            env=os.environ | private_home | services | env,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@dataclass(frozen=True)
class Toy:
    """A lake with an imported table and two trained routers, one of them champion.

    Attributes:
        table: the imported CSV file.
        lake: its folder.
        imported, trained: manifests of the two commands.
    """

    table: Path
    lake: Path
    imported: dict[str, Any]
    trained: dict[str, Any]


@pytest.fixture(scope="session")
def toy_table() -> str:
    """The scores that `toy` has imported, as CSV."""
    return _toy_table()


@pytest.fixture(scope="session")
def toy(signalbox: Signalbox, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Two tasks of 150 queries; each has a cheap specialist, a third candidate is dear."""
    folder = tmp_path_factory.mktemp("toy")
    table, lake = folder / "table.csv", folder / "lake"
    table.write_text(_toy_table())
    imported = signalbox(
        "import", "--format", "table", "--path", "table.csv", "--dataset", "toy", "--lake", lake,
        cwd=folder,
    ).manifest  # fmt: skip
    trained = signalbox(
        "train", "--dataset", "toy", "--methods", "cluster_table,knn", "--promote", "--lake", lake
    ).manifest
    return Toy(table, lake, imported, trained)


def _toy_table() -> str:
    draw = random.Random(0)
    success = {"sum": (0.9, 0.3, 0.6), "word": (0.2, 0.9, 0.6)}
    splits = ("train", "train", "train", "validation", "test", "test")
    lines = ["text,task,split,small,medium,large,cost:small,cost:medium,cost:large"]
    for number in range(300):
        task = ("sum", "word")[number % 2]
        first, second = draw.randint(0, 999), draw.randint(0, 999)
        texts = {
            "sum": f"what is {first} plus {second} in example {number}",
            "word": f"spell backwards the word item{first} letter{second} number {number}",
        }
        scores = ",".join(str(int(draw.random() < share)) for share in success[task])
        split = splits[number // 2 % len(splits)]
        lines.append(f"{texts[task]},{task},{split},{scores},0.0001,0.0002,0.001")
    return "\n".join(lines) + "\n"


@pytest.fixture
def told(
    capsys: pytest.CaptureFixture[str],
    private_home: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Signalbox]:
    """Run a command that must end before anything is started; in this process, for speed.

    A flow that began after all would find no Prefect server at its address.
    """
    nowhere = f"http://127.0.0.1:{closed_port()}/api"
    monkeypatch.chdir(tmp_path)
    # The S3 server lives in this process and tells of every request.
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)

    def run(*arguments: object, **env: str) -> Result:
        _log_to_current_stderr()
        words = [str(argument) for argument in arguments]
        # Not mock.patch.dict, which empties the environment and fills it again: a thread of the
        # lake's reader that looks something up at that moment ends the process.
        before = set(os.environ)
        with pytest.MonkeyPatch.context() as own:
            for name, value in (private_home | {"PREFECT_API_URL": nowhere} | env).items():
                own.setenv(name, value)
            for name in ("SIGNALBOX_LAKE", "SIGNALBOX_RAY_ADDRESS"):
                own.delenv(name, raising=False)
            with pytest.raises(SystemExit) as ended:
                main(words)
        for name in set(os.environ) - before:
            del os.environ[name]
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    terminate = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, terminate)


def _log_to_current_stderr() -> None:
    """Prefect's handler keeps the standard error there was when its logging was set up."""
    for handler in logging.getLogger().handlers:
        if hasattr(handler, "console"):
            handler.console.file = sys.stderr

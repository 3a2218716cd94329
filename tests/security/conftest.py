"""Services of the machine's own, each holding secrets that nothing else may ever hold."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

START_SECONDS = 240
COMMAND_SECONDS = 400
PLANTED = ("endpoint_key", "s3_key", "s3_secret", "s3_session", "ray_token", "prefect_word")
PLANTED += ("notify", "in_store_address", "in_ray_address", "in_lake_address")


@dataclass
class World:
    """A Prefect server, a Ray cluster and an S3 store with planted secrets.

    Attributes:
        folder: everything they and the commands write on this machine.
        secrets: what was planted, by what it is.
        variables: of the commands.
        server, ray: the processes.
        told: what the commands said, on both streams.
    """

    folder: Path
    secrets: dict[str, str]
    variables: dict[str, str]
    server: "subprocess.Popen[bytes]"
    ray: "subprocess.Popen[str]"
    told: list[str] = field(default_factory=list)

    def run(self, *arguments: object, **variables: str) -> int:
        """Run a command, with some variables more; returns its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments), "--verbose"],
            env=os.environ | self.variables | variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        self.told += [done.stdout, done.stderr]
        return done.returncode


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def world(s3_environment: dict[str, str]) -> Iterator[World]:
    """The services; Ray's and Prefect's own files lie in the world's folder."""
    # Short, because the names of Ray's sockets begin with it.
    folder = Path(tempfile.mkdtemp(prefix="sb-", dir="/tmp"))
    planted = {name: f"{name.replace('_', '-')}-{secrets.token_hex(16)}" for name in PLANTED}
    port = free_port()
    variables = s3_environment | {
        "AWS_ACCESS_KEY_ID": planted["s3_key"],
        "AWS_SECRET_ACCESS_KEY": planted["s3_secret"],
        "AWS_SESSION_TOKEN": planted["s3_session"],
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": planted["ray_token"],
        "GATEWAY_KEY": planted["endpoint_key"],
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": f"admin:{planted['prefect_word']}",
        "PREFECT_API_AUTH_STRING": f"admin:{planted['prefect_word']}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        log = stack.enter_context((folder / "server.log").open("wb"))
        serve = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(
            [sys.executable, "-m", *serve], env=os.environ | variables, stdout=log, stderr=log
        )
        stack.callback(_end, server)
        ray = subprocess.Popen(
            [sys.executable, HERE.parent / "living_ray.py"],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(ray.communicate, timeout=START_SECONDS)
        assert ray.stdout is not None
        word, _, address = ray.stdout.readline().strip().partition(" ")
        assert word == "ADDRESS", "Ray did not start"
        api = f"http://127.0.0.1:{port}/api"
        _wait_until_healthy(api, process=server)
        commands = {"PREFECT_API_URL": api, "SIGNALBOX_RAY_ADDRESS": address}
        yield World(folder, planted, variables | commands, server, ray)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(START_SECONDS)


def _wait_until_healthy(api: str, *, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Prefect server ended"
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the Prefect server did not start")

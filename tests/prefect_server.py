"""A Prefect server of a test's own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

# It answers 12 s after its start on a machine that has nothing else to do.
PATIENCE_SECONDS = 300.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def prefect_server(folder: Path, *, url: str) -> Iterator[dict[str, str]]:
    """A Prefect server on a database, and the variables that point to it; its log is `folder/log`.

    `url`: of the database; empty for SQLite in the folder.
    """
    port = free_port()
    env = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    own = os.environ | env
    own.pop("PREFECT_API_URL")
    if url:
        own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, env=own, stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            wait_until(lambda: _answers(env["PREFECT_API_URL"] + "/health"))
            yield env
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=PATIENCE_SECONDS)


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as reply:
        return bool(reply.status == 200)
    return False


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)

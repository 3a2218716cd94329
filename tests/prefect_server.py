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
from dataclasses import dataclass, field
from pathlib import Path

# It answers 12 s after its start on a machine that has nothing else to do.
PATIENCE_SECONDS = 300.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class PrefectServer:
    """A server that may die and be started again, on the same port and the same database.

    Attributes:
        folder: its home; its log is `folder/log`.
        url: of the database; empty for SQLite in the folder.
    """

    folder: Path
    url: str = ""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def env(self) -> dict[str, str]:
        """The variables that point to it."""
        return {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }

    def start(self) -> None:
        """Until it answers."""
        own = os.environ | self.env
        own.pop("PREFECT_API_URL")
        if self.url:
            own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = self.url
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--no-ui"], env=own, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: _answers(self.env["PREFECT_API_URL"] + "/health"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it and its children a signal, and wait until it is gone."""
        assert self.process is not None
        os.killpg(self.process.pid, number)
        self.process.wait(timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def prefect_server(folder: Path, *, url: str) -> Iterator[dict[str, str]]:
    """A Prefect server on a database, and the variables that point to it; its log is `folder/log`.

    `url`: of the database; empty for SQLite in the folder.
    """
    with living_server(folder, url=url) as server:
        yield server.env


@contextlib.contextmanager
def living_server(folder: Path, *, url: str = "") -> Iterator[PrefectServer]:
    """As `prefect_server`, with the server itself in hand."""
    server = PrefectServer(folder, url)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.end()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as reply:
        return bool(reply.status == 200)
    return False


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)

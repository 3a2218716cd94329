"""A living `signalbox up`, asked as the UI asks it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from cluster.process_mark import VARIABLE, marked

SECONDS = 300
BUSY = 503
# A cancelled run is to leave no process after that.
GONE_SECONDS = 30


def wait_for(condition: Callable[[], Any], *, seconds: float = SECONDS) -> Any:
    """The first answer that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.3)


@dataclass
class Up:
    """A living `signalbox up`, asked through its server's API as the UI asks it."""

    process: "subprocess.Popen[str]"
    url: str
    folder: Path
    auth: tuple[str, str] | None = None

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    @property
    def server(self) -> int:
        """Process of the Prefect server; a server that was killed is there again in a moment."""
        return int(wait_for(self._server))

    def _server(self) -> int | None:
        mine = children(self.process.pid)
        return next((pid for pid in mine if "prefect server" in words(pid)), None)

    @property
    def mark(self) -> str:
        """What all its processes carry."""
        entries = Path(f"/proc/{self.server}/environ").read_bytes().split(b"\0")
        [found] = [entry for entry in entries if entry.startswith(f"{VARIABLE}=".encode())]
        return found.decode().partition("=")[2]

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """What the server answers; one that is busy (503) is asked again, as Prefect does."""
        deadline = time.monotonic() + SECONDS
        while True:
            answer = httpx.request(
                method,
                f"{self.url}/api/{path}",
                json=body or None,
                auth=self.auth,
                timeout=60,
            )
            if answer.status_code != BUSY or time.monotonic() > deadline:
                answer.raise_for_status()
                return answer.json()
            time.sleep(1.0)

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"deployments/name/{name}/{name}")

    def run(self, name: str, **params: Any) -> UUID:
        """Ask for a run, as a form does: values of the deployment where it says nothing."""
        deployment = self.deployment(name)
        values = deployment["parameters"].get("params", {}) | params
        made = self.ask(
            "POST",
            f"deployments/{deployment['id']}/create_flow_run",
            parameters={"params": values},
            state={"type": "SCHEDULED"},
        )
        return UUID(made["id"])

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of a deployment, those that are to come among them."""
        only = {"name": {"any_": [name]}}
        return list(self.ask("POST", "flow_runs/filter", deployments=only))

    def state(self, run: UUID) -> dict[str, Any]:
        """A run's state; a server that is away is asked again."""
        return wait_for(lambda: self._state(run))

    def _state(self, run: UUID) -> dict[str, Any] | None:
        try:
            return self.ask("GET", f"flow_runs/{run}")["state"]
        except httpx.TransportError:
            return None

    def ended(self, run: UUID) -> dict[str, Any]:
        """A run's state in the end."""
        last = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        wait_for(lambda: self.state(run)["type"] in last)
        return self.state(run)

    def completed(self, run: UUID) -> None:
        state = self.ended(run)
        assert state["type"] == "COMPLETED", state["message"]


def children(pid: int) -> list[int]:
    """Processes that a process started itself."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(found) for found in listed.split()]


def words(pid: int) -> str:
    """Command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@contextmanager
def brought_up(folder: Path, *flags: str, env: dict[str, str]) -> Iterator[Up]:
    """A `signalbox up` with a lake, a Prefect home and a port of its own, and further flags."""
    said = folder / "said"
    home = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": ""}
    command = [sys.executable, "-m", "flows.cli", "up", "--port", "0", "--lake", "lake"]
    command += flags
    with (
        said.open("w") as stream,
        subprocess.Popen(
            command,
            env=os.environ | env | home,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            told = wait_for(lambda: _address(said) or process.poll() is not None)
            assert isinstance(told, str), said.read_text()
            user, _, password = env.get("PREFECT_SERVER_API_AUTH_STRING", "").partition(":")
            yield Up(process, told, folder, (user, password) if user else None)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=SECONDS)


def _address(said: Path) -> str:
    line = next((line for line in said.read_text().splitlines() if line.startswith("up after")), "")
    return line.partition(" s: ")[2].partition("/deployments")[0]


def words_of_runs(up: Up) -> list[str]:
    """What is left of runs: their own processes and those of their jobs."""
    parts = ("cluster.jobs.", "prefect.engine", "_ray_internal_job_actor", "GenerateWorker")
    return [word for word in map(words, marked(up.mark)) if any(part in word for part in parts)]

"""Commands with real engines, and the processes below them that a test kills."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.process import process_start

from .conftest import wait_until

DEMO = Path(__file__).parents[2] / "infra" / "demo"
# A busy machine takes its time to load an engine; agents of Ray end a minute after their node.
PATIENCE_SECONDS = 900.0


def descendants(root: int) -> dict[int, str]:
    """Command line by pid of every process below one."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Both or none: one of them may end between.
            pid, stat = int(folder.name), (folder / "stat").read_text()
            lines[pid] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
    below, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below, grown = below | more, bool(more)
    return {pid: lines[pid] for pid in below - {root}}


def living(starts: dict[int, str]) -> list[int]:
    """Those of the processes (start time by pid) that are still there."""
    return [pid for pid, start in starts.items() if start and process_start(pid) == start]


@dataclass
class Command:
    """A signalbox command with a Ray of its own, and the files that it talks to."""

    run: "subprocess.Popen[bytes]"
    told: Path
    complaint: Path

    def those(self, doing: str) -> list[int]:
        """Pids of the Python processes that do something; a shell may stand around one."""
        lines = descendants(self.run.pid).items()
        return sorted(
            pid
            for pid, line in lines
            if doing in line and not line.startswith("/bin/") and process_start(pid)
        )

    def kill(self, doing: str, *, place: int = 0) -> int:
        """SIGKILL one of them; its pid."""
        pid = self.those(doing)[place]
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self) -> dict[int, str]:
        """SIGKILL of the command itself: what it has started ends without its help.

        Ray's own agents take a minute longer; they are returned, start time by pid.
        """
        below = descendants(self.run.pid)
        starts = {pid: process_start(pid) for pid in below}
        self.run.kill()
        self.run.wait()
        slow = {pid: start for pid, start in starts.items() if "agent" in below[pid]}
        others = {pid: start for pid, start in starts.items() if pid not in slow}
        wait_until(lambda: not living(others), seconds=PATIENCE_SECONDS)
        return slow

    def until(self, reached: Any) -> None:
        """Wait until something holds while the command runs."""
        wait_until(lambda: reached() or self.run.poll() is not None, seconds=PATIENCE_SECONDS)
        assert self.run.poll() is None, self.complaint.read_text()

    def fails(self) -> str:
        """It ends by itself with an error and leaves no process; what it said."""
        below = {pid: process_start(pid) for pid in descendants(self.run.pid)}
        status = self.run.wait(timeout=PATIENCE_SECONDS)
        assert status == 1, self.complaint.read_text()
        wait_until(lambda: not living(below), seconds=PATIENCE_SECONDS)
        return self.complaint.read_text()

    def succeeds(self) -> dict[str, Any]:
        """It ends well; its manifest."""
        status = self.run.wait(timeout=PATIENCE_SECONDS)
        assert status == 0, self.complaint.read_text()
        manifest: dict[str, Any] = json.loads(self.told.read_text().splitlines()[-1])
        return manifest


@contextlib.contextmanager
def command(*words: str, env: dict[str, str]) -> Iterator[Command]:
    """A signalbox command with a Ray of its own; nothing of it is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        told, complaint = Path(folder) / "told", Path(folder) / "complaint"
        # Files, because a pipe that nobody reads is full after 64 KiB.
        with (
            told.open("wb") as out,
            complaint.open("wb") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *words], env=env, stdout=out, stderr=errors
            ) as run,
        ):
            try:
                yield Command(run, told, complaint)
            finally:
                run.kill()


def is_loading(pid: int) -> bool:
    """Whether a worker has begun to load vLLM's library."""
    with contextlib.suppress(OSError):
        return "vllm" in Path(f"/proc/{pid}/maps").read_text()
    return False


def write_candidates(path: Path, *, samples: int, names: tuple[str, ...]) -> Path:
    """Candidates of the demo's models that are sampled, and long: their texts depend on seeds, and
    a run lasts long enough to be hit."""
    heat = {"abacus": 0.9, "scribe": 0.0}
    specs = [
        {
            "name": name,
            "engine": "vllm",
            "model": str(DEMO / "models" / name),
            "dtype": "float32",
            "template": "{text}\nA:",
            "sampling": {"temperature": heat[name], "max_tokens": 40},
            "samples": samples,
            "price": {"input": 1, "output": 1},
        }
        for name in names
    ]
    path.write_text(yaml.safe_dump(specs))
    return path

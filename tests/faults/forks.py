"""Runs what `drivers.py` forks for, and waits for its end."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_SECONDS = 300.0


@dataclass
class Drivers:
    """The process that forks for every driver."""

    process: "subprocess.Popen[str]"
    log: Path
    busy: threading.Lock = field(default_factory=threading.Lock)

    def run(self, words: Sequence[str], *, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Wait for its end; `stderr` has both its streams."""
        assert self.busy.acquire(blocking=False), "one at a time; beside it, a process of its own"
        try:
            return self._run(words, env=env)
        finally:
            self.busy.release()

    def _run(
        self, words: Sequence[str], *, env: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        order = {"words": words, "env": env, "log": str(self.log)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        pid = self._number()
        try:
            status = self._number()
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._number()
            raise
        return subprocess.CompletedProcess(list(words), status, "", self.log.read_text())

    def _number(self) -> int:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        if not readable:
            raise TimeoutError(self.log.read_text()[-3000:])
        return int(self.process.stdout.readline())


@contextmanager
def drivers(env: dict[str, str], *, folder: Path, modules: Sequence[str] = ()) -> Iterator[Drivers]:
    """One for the length of a block; `folder` gets the log of the driver that ran last.

    `modules` are what it imports, instead of the jobs.
    """
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("drivers.py")), *modules],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Drivers(process, folder / "driver.log")
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=PATIENCE_SECONDS)

"""One process that works on one input after another, and is replaced when one is too much."""

import json
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import EngineError

# Imports of a worker on a machine that is busy with others; sympy's take 2 s on an idle one.
START_SECONDS = 120.0
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Bounds:
    """What one input may take.

    Attributes:
        seconds: wall clock.
        memory_mb: address space on top of what the worker needs itself.
    """

    seconds: float
    memory_mb: int


@dataclass(frozen=True)
class Outcome:
    """What became of one input: a JSON value, or why there is none."""

    value: Any = None
    fault: str | None = None


class Worker:
    """A function in a process of its own, started by the first input.

    `warm` are arguments it is called with once at the start: what a first call takes longer
    (compiling patterns and grammars) counts for no input.
    """

    def __init__(self, target: str, *, bounds: Bounds, warm: tuple[str, ...]) -> None:
        self.target = target
        self.warm = warm
        self.bounds = bounds
        self.process: subprocess.Popen[bytes] | None = None
        self.received = b""

    def __call__(self, *arguments: str) -> Outcome:
        """The function's value for these arguments, or the bound that they broke."""
        process = self._started()
        if not self._send(json.dumps(arguments).encode() + b"\n", to=process):
            return self._ended()
        line = self._line(process, seconds=self.bounds.seconds)
        if line is None:
            self.close()
            return Outcome(fault=f"time limit of {self.bounds.seconds:g} s")
        if not line:
            return self._ended()
        return Outcome(**json.loads(line))

    def close(self) -> None:
        """Kill the process, if there is one."""
        if self.process is None:
            return
        self.process.kill()
        for end in (self.process.stdin, self.process.stdout):
            if end is not None:
                end.close()
        self.process.wait()
        self.process, self.received = None, b""

    def _ended(self) -> Outcome:
        self.close()
        return Outcome(fault="memory limit or crash: its process died")

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is not None:
            return self.process
        module, function = self.target.split(":")
        command = [sys.executable, "-m", "cluster.rewards.bounded.serve", module, function]
        self.process = subprocess.Popen(
            [*command, str(self.bounds.memory_mb), *self.warm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
            bufsize=0,
        )
        if not self._line(self.process, seconds=START_SECONDS):
            self.close()
            raise EngineError(
                f"the process for {self.target} did not start within {START_SECONDS:g} s; its "
                "message is above; see that the machine has memory and processors left"
            )
        return self.process

    def _send(self, line: bytes, *, to: subprocess.Popen[bytes]) -> bool:
        """Whether it took the line; it reads all of a line before it works on it."""
        assert to.stdin is not None
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[to.stdin.write(rest) :]
        except BrokenPipeError:
            return False
        return True

    def _line(self, process: subprocess.Popen[bytes], *, seconds: float) -> bytes | None:
        """Its next line; None if it takes too long, empty if it has ended."""
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self.received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                return None
            chunk = process.stdout.read(65_536)
            if not chunk:
                return b""
            self.received += chunk
        line, _, self.received = self.received.partition(b"\n")
        return line

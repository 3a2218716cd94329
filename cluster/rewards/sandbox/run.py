"""One run of a program, from its start to its end."""

import fcntl
import json
import os
import select
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from cluster.errors import EngineError
from cluster.rewards.sandbox.box import Box
from cluster.rewards.sandbox.guest.roles import NOT_CONFINED
from cluster.rewards.sandbox.limits import Limits

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
# An overseer ends a run in time; beyond this it has been killed itself.
GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        exit: its exit code, None if it was killed.
        fault: which limit or signal ended it, None if it ended by itself.
        outputs: what it wrote, by name.
    """

    exit: int | None
    fault: str | None
    outputs: Mapping[str, bytes]


class Run:
    """A run that has been started; `outputs` are read while it goes on, up to its limit."""

    def __init__(
        self, box: Box, role: str, *, limits: Limits, inputs: list[int], outputs: dict[str, int]
    ) -> None:
        """Start it; `inputs` are its file descriptors 0, 1, 2, … and `outputs` are to be read.

        Those of `outputs` belong to the run from here on, those of `inputs` do not.
        """
        self.limits = limits
        self.outputs = outputs
        self.status = box.start(role, limits=limits, descriptors=inputs)

    def wait(self) -> Ended:
        """How it ended.

        Raises:
            EngineError: it could not give up its rights, and so ran nothing.
        """
        try:
            received, over = self._received()
        finally:
            self.status.close()
            for number in self.outputs.values():
                os.close(number)
        line = received.pop("")
        lost = {"exit": None, "signal": None, "killed": "lost"}
        told: dict[str, Any] = json.loads(line) if line else lost
        if told["exit"] == NOT_CONFINED and b"the sandbox failed" in received.get("stderr", b""):
            raise EngineError(received["stderr"].decode(errors="replace"))
        fault = f"output limit of {self.limits.output_kb} KB" if over else self._fault(told)
        return Ended(exit=told["exit"], fault=fault, outputs=received)

    def stop(self) -> Ended:
        """End it, if it has not ended, and say how it ended."""
        self._unwanted()
        return self.wait()

    def _unwanted(self) -> None:
        with suppress(OSError):  # It has ended already.
            self.status.shutdown(socket.SHUT_WR)

    def _received(self) -> tuple[dict[str, bytes], bool]:
        """All it wrote, its status under "", and whether that was more than it may."""
        open_ends = {number: name for name, number in self.outputs.items()}
        open_ends[self.status.fileno()] = ""
        received = dict.fromkeys(open_ends.values(), b"")
        over = False
        while open_ends:
            ready, _, _ = select.select(open_ends, [], [], self.limits.seconds + GRACE_SECONDS)
            if not ready:
                break
            for number in ready:
                chunk = os.read(number, 65_536)
                name = open_ends[number]
                if not chunk:
                    del open_ends[number]
                elif len(received[name]) < 1024 * self.limits.output_kb:
                    received[name] += chunk
                elif not over:
                    over = True
                    self._unwanted()
        return received, over

    def _fault(self, told: dict[str, Any]) -> str | None:
        """Which limit or signal ended it."""
        killed, number = told["killed"], told["signal"]
        if killed == "unwanted" or (killed is None and number is None):
            return None
        if killed is None and number != signal.SIGXCPU:
            return f"it was ended by {signal.Signals(number).name}"
        words = {
            "memory": f"memory limit of {self.limits.memory_mb} MB",
            "processes": f"limit of {self.limits.processes} processes",
            "lost": "it was ended from outside",
        }
        return words.get(killed, f"time limit of {self.limits.seconds:g} s")


def sealed(content: bytes) -> int:
    """A file in memory that nobody can change; its position is at the beginning."""
    number = os.memfd_create("signalbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(number, rest) :]
    os.lseek(number, 0, os.SEEK_SET)
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, SEALS)
    return number


def pipe(stack: ExitStack) -> tuple[int, int]:
    """A pipe: its reading end, and its writing end, which is closed with the stack."""
    reading, writing = os.pipe()
    stack.callback(os.close, writing)
    return reading, writing

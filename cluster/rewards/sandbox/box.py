"""A warden's process, as seen by who has programs to run."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.errors import EngineError
from cluster.rewards.sandbox.guest import seccomp
from cluster.rewards.sandbox.isolation import Isolation, map_users, place
from cluster.rewards.sandbox.limits import Limits

START_SECONDS = 60.0
BOOT = """
import sys, types
for name, path in zip(("cluster", "cluster.rewards"), sys.argv[2:]):
    # Their folders are wanted, not what their __init__ imports.
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from cluster.rewards.sandbox.guest.warden import main
main(int(sys.argv[1]))
"""
# The order of sets is the same in each run, and threads share one arena: each has 128 MB of
# address space, which would count.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "PYTHONUTF8": "1"}


class Box:
    """Where programs run, one or a few at a time; started at the first.

    To be closed, or used as a context manager.
    """

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self.stack = contextlib.ExitStack()
        self.control: socket.socket | None = None

    def start(self, role: str, *, limits: Limits, descriptors: Sequence[int]) -> socket.socket:
        """Start a run with these file descriptors; a socket that will say how it ended.

        Closing that socket, or its writing side, ends the run.

        Raises:
            EngineError: the machine does not offer the isolation.
        """
        ours, theirs = socket.socketpair()
        message = json.dumps({"role": role, "limits": limits._asdict()}).encode()
        with theirs:
            try:
                given = [theirs.fileno(), *descriptors]
                socket.send_fds(self._started(), [message], given)
            except OSError:
                # The warden has been killed, by whoever was short of memory.
                self.close()
                socket.send_fds(self._started(), [message], given)
        return ours

    def close(self) -> None:
        """End the warden; runs that go on are ended by their overseers."""
        self.stack.close()
        self.control = None

    def _started(self) -> socket.socket:
        if self.control is None:
            self.control = self._start()
        return self.control

    def _start(self) -> socket.socket:
        if not seccomp.known():
            raise EngineError(
                f"untrusted programs run on {' and '.join(seccomp.ARCHITECTURES)} alone, this is "
                f"{os.uname().machine}: there is no filter of system calls for it"
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stack.enter_context(ours)
        said = self.stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="signalbox-"))
        os.chmod(folder, 0o777)  # noqa: PTH101
        rewards = Path(__file__).parents[1]
        command = [sys.executable, "-S", "-s", "-P", "-B", "-c", BOOT, str(theirs.fileno())]
        with theirs:
            process = subprocess.Popen(
                [*command, str(rewards.parent), str(rewards)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=ENVIRONMENT,
                cwd="/",
            )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        ours.settimeout(START_SECONDS)
        try:
            self._lead(ours, process=process.pid, folder=folder)
        except OSError as error:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise EngineError(_refusal(self.isolation, words=words[-1:], error=error)) from error
        ours.settimeout(None)
        return ours

    def _lead(self, control: socket.socket, *, process: int, folder: str) -> None:
        """Tell a new warden where its runs are, and give its namespace users."""
        told = place(self.isolation, process=process, folder=folder)
        control.send(json.dumps(told).encode())
        answer = control.recv(16)
        if answer == b"map":
            map_users(process)
            control.send(b"mapped")
            answer = control.recv(16)
        if answer != b"ready":
            raise OSError("it has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _refusal(isolation: Isolation, *, words: list[str], error: OSError) -> str:
    cause = words[0] if words else str(error)
    if isolation == "limits":
        return f"the process that runs untrusted programs did not start: {cause}"
    return (
        f"untrusted programs do not run here: the machine gives no namespaces to keep them in "
        f"({cause}). Allow user namespaces (sysctl user.max_user_namespaces and, on Ubuntu, "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that "
        "allows unshare and mount), or choose the weaker 'isolation: limits' for programs you trust"
    )

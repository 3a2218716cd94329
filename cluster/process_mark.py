"""Ending everything a command has started, found by a mark that its processes inherit.

A process that is killed (SIGKILL) can end nothing any more, and what it started may have started
more, in sessions of their own. All of it has the same variable in its environment. A guard that
the command starts first waits until the command is gone, however it went, and ends the rest.

Run as a script, so that it imports little: `python -IS process_mark.py MARK`, with a pipe from
the command as its standard input.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "SIGNALBOX_MARK"
LOOK_SECONDS = 0.2
# What was forked while the list was read is found by the next look.
QUIET_LOOKS = 3
GIVE_UP_SECONDS = 20.0


def marked(mark: str) -> list[int]:
    """Processes of this user, but this one, that were started with the mark."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid() and _has(folder, wanted):
            found.append(int(folder.name))
    return found


def _has(folder: Path, wanted: bytes) -> bool:
    """Whether a process carries the variable; one that is gone or another user's does not."""
    try:
        return wanted in (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def end_marked(mark: str) -> None:
    """Kill them until none is left."""
    quiet, deadline = 0, time.monotonic() + GIVE_UP_SECONDS
    while quiet < QUIET_LOOKS and time.monotonic() < deadline:
        pids = marked(mark)
        quiet = 0 if pids else quiet + 1
        for pid in pids:
            _kill(pid)
        time.sleep(LOOK_SECONDS)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def start_guard(mark: str) -> "subprocess.Popen[bytes]":
    """Start the guard; it acts when the pipe to its standard input is closed.

    It has a session of its own, so that Ctrl-C leaves it alone.
    """
    return subprocess.Popen(
        [sys.executable, "-IS", __file__, mark],
        stdin=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != VARIABLE},
        start_new_session=True,
    )


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_marked(sys.argv[1])

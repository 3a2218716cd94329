"""Processes of this machine: whether one is there, how one ends, a driver that ends with Ray."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 1.0


def process_start(pid: int) -> str:
    """Start time of a living process in clock ticks since boot, which tells a recycled pid apart.

    Empty when there is none; one that was killed and waits for its parent to notice is none.
    """
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def end_child(child: "subprocess.Popen[Any]", *, seconds: float) -> None:
    """Ask a process that was started here to end, and kill it where it has not by then."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def end_with_ray() -> None:
    """Let this process, if Ray started it as a job, end when the process that started it does.

    When a cluster dies at once (SIGKILL of the command that brought it up), a driver would wait a
    minute for it to come back, and hold its lease all the while. Anything else is left alone.
    """
    supervisor = _ray_ancestor()
    if supervisor:
        thread = threading.Thread(target=_follow, args=(supervisor,), name="end-with-ray")
        thread.daemon = True
        thread.start()


def _follow(supervisor: int) -> None:
    start = process_start(supervisor)
    while start and process_start(supervisor) == start:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _ray_ancestor() -> int | None:
    """The nearest ancestor that is a worker of Ray; a shell may stand between."""
    pid = os.getppid()
    while pid > 1:
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::"):
                return pid
        except OSError:
            return None
        pid = int((_stat(pid) or ["", "0"])[1])
    return None


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, from the state on; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

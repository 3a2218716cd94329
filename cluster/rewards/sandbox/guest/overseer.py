"""Watches one run from outside its namespaces, ends it at its limits, and says how it ended."""

import json
import os
import select
import signal
import time

from cluster.rewards.sandbox.limits import Limits

# Memory and processes are counted this often. A core fills 2 GB/s at most, so a run is over its
# limit by 40 MB a core, and by what its processes' own limits allow, before it is seen.
LOOK_SECONDS = 0.02
MEGABYTE = 2**20
# Far more than it takes; an overseer ends in any case.
END_SECONDS = 60
STOPPED, ENDED = "Tt", "ZX"


def oversee(child: int, *, limits: Limits, status: int, proc: int) -> None:
    """Wait for the run's first process, or kill it; the others die with it.

    Writes a line of JSON to `status`: `exit` (its code, or null), `signal` (or null) and `killed`
    ("time", "memory", "processes", "unwanted" or null). The run is unwanted once nobody reads it.
    """
    killed = _watch(child, limits=limits, status=status, proc=proc)
    if killed is not None:
        os.kill(child, signal.SIGKILL)
    _, code = os.waitpid(child, 0)
    _end_others(proc=proc)
    line = {
        "exit": os.WEXITSTATUS(code) if os.WIFEXITED(code) else None,
        "signal": os.WTERMSIG(code) if os.WIFSIGNALED(code) else None,
        "killed": killed,
    }
    try:
        os.write(status, json.dumps(line).encode())
    except (BrokenPipeError, ConnectionResetError):
        return


def _watch(child: int, *, limits: Limits, status: int, proc: int) -> str | None:
    """Why the run has to be killed; None if it ends by itself."""
    deadline = time.monotonic() + limits.seconds
    events = select.poll()
    ended = os.pidfd_open(child)
    events.register(ended, select.POLLIN)
    events.register(status, select.POLLIN)  # Nothing is ever sent: its reader wants no more.
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return "time"
        ready = dict(events.poll(1000 * min(left, LOOK_SECONDS)))
        if ended in ready:
            return None
        if status in ready:
            events.unregister(status)
            # Closing its pipes is how it tells that it has ended, just before it has.
            return None if events.poll(1000 * LOOK_SECONDS) else "unwanted"
        processes, resident = _used(child, proc=proc)
        if resident > limits.memory_mb * MEGABYTE:
            return "memory"
        if processes > limits.processes:
            return "processes"


def _used(child: int, *, proc: int) -> tuple[int, int]:
    """Processes of a run, and their resident memory in bytes."""
    found, resident, todo = 0, 0, [str(child)]
    while todo:
        process = todo.pop()
        try:
            pages = int(_read(f"{process}/statm", proc=proc).split()[1])
            todo += _children(process, proc=proc)
        except (OSError, IndexError):
            continue  # It has ended meanwhile.
        found += 1
        resident += pages * os.sysconf("SC_PAGE_SIZE")
    return found, resident


def _children(process: str, *, proc: int) -> list[str]:
    folder = os.open(f"{process}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=proc)
    try:
        threads = os.listdir(folder)
    finally:
        os.close(folder)
    lists = [_read(f"{process}/task/{thread}/children", proc=proc) for thread in threads]
    return [child for children in lists for child in children.split()]


def _read(path: str, *, proc: int) -> str:
    number = os.open(path, os.O_RDONLY, dir_fd=proc)
    try:
        return os.read(number, 65_536).decode()
    finally:
        os.close(number)


def _end_others(*, proc: int) -> None:
    """Kill what is left of a run without a process namespace: its orphans are our children.

    A program that forks for ever has another process wherever one is killed. So all are stopped
    first, which ends nobody's place, and are killed once two looks in a row find none running.
    """
    deadline = time.monotonic() + END_SECONDS
    before: set[str] = set()
    while time.monotonic() < deadline:
        _reap()
        states = _states(proc=proc)
        if not states:
            return
        frozen = set(states) == before and all(state in STOPPED for state in states.values())
        for process in states:
            _signal(int(process), signal.SIGKILL if frozen else signal.SIGSTOP)
        before = set(states)
        time.sleep(0.001)


def _reap() -> None:
    """Take note of those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _states(*, proc: int) -> dict[str, str]:
    """State, as the kernel's letter, of every process below this one that has not ended."""
    found: dict[str, str] = {}
    todo = _children(str(os.getpid()), proc=proc)
    while todo:
        process = todo.pop()
        try:
            state = _read(f"{process}/stat", proc=proc).rpartition(")")[2].split()[0]
            # After its state: what is stopped has no more children than these.
            todo += _children(process, proc=proc)
        except (OSError, IndexError):
            continue  # It has ended meanwhile.
        if state not in ENDED:
            found[process] = state
    return found


def _signal(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:  # It has ended meanwhile.
        return

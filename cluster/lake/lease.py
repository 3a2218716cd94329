"""A lease: who works on a candidate now, so that two runs never generate the same answers.

A lease is a row of numbered, create-only files: taking or renewing it means creating the next
number, and the store lets only one process do that. Staleness is judged by the observer's own
monotonic clock (the newest number has not moved for a while), so a wall clock that jumps takes no
lease away. A holder on the same machine whose process is gone loses it at once.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cluster.errors import LakeError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake
from cluster.process import process_start

RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0
POLL_SECONDS = 1.0


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": process_start(pid)}


@dataclass(frozen=True)
class _Entry:
    number: int
    holder: dict[str, Any]

    @property
    def released(self) -> bool:
        return bool(self.holder.get("released"))

    @property
    def dead(self) -> bool:
        """True when the holder ran on this machine and is no longer there."""
        if self.holder.get("host") != socket.gethostname():
            return False
        start = process_start(int(self.holder["pid"]))
        return not start or start != self.holder["started"]


class _Lease:
    def __init__(self, name: str, *, lake: Lake) -> None:
        self.folder = lake.storage.join("leases", name)
        self.storage = lake.storage

    def newest(self) -> _Entry | None:
        found = self.storage.list(self.folder)
        if not found:
            return None
        uri = max(uri for uri, _ in found)
        content = self.storage.read_bytes_or_none(uri)
        number = int(uri.rsplit("/", 1)[-1].removesuffix(".json"))
        return _Entry(number=number, holder=json.loads(content or b'{"released": true}'))

    def take(self, number: int, *, holder: dict[str, Any]) -> bool:
        """Create a number; False when somebody else was first."""
        try:
            self.storage.write_new(self._uri(number), json.dumps(holder).encode())
        except FileExistsError:
            return False
        if number > 1:
            self.storage.delete(self._uri(number - 1))
        return True

    def is_newest(self, number: int) -> bool:
        """Whether a number just taken is the last; if not, it is given back.

        Between a look and a take others may have gone on by two, which frees the number between.
        """
        newest = self.newest()
        if newest is not None and newest.number == number:
            return True
        self.storage.delete(self._uri(number))
        return False

    def _uri(self, number: int) -> str:
        return f"{self.folder}/{number:012d}.json"


def _acquire(lease: _Lease, *, waiting: Callable[[str], None]) -> int:
    """Wait until the lease is free or stale, and take it; returns its number."""
    seen, since = -1, time.monotonic()
    while True:
        entry = lease.newest()
        number = entry.number if entry else 0
        if number != seen:
            seen, since = number, time.monotonic()
        stale = time.monotonic() - since > STALE_SECONDS
        free = entry is None or entry.released or entry.dead or stale
        if free and lease.take(number + 1, holder=_me()) and lease.is_newest(number + 1):
            return number + 1
        holder = entry.holder if entry else {}
        waiting(f"{holder.get('host', '?')} process {holder.get('pid', '?')}")
        time.sleep(POLL_SECONDS)


@contextmanager
def lease(
    name: str, *, lake: Lake, waiting: Callable[[str], None] = lambda _: None
) -> Iterator[Callable[[], None]]:
    """Hold the lease `name` for the length of a block.

    Yields a check to call before a commit.

    Args:
        name: what is leased: a candidate's id.
        lake: where it lives.
        waiting: told about once a second who holds it, while somebody else does.

    Raises:
        LakeError: from the check, when the lease was lost (this process stood still too long).
    """
    held = _Lease(name, lake=lake)
    number = _acquire(held, waiting=waiting)
    failpoint("lease.taken")
    stop, lost = threading.Event(), threading.Event()

    def renew() -> None:
        nonlocal number
        while not stop.wait(RENEW_SECONDS):
            if not held.take(number + 1, holder=_me()):
                lost.set()
                return
            number += 1

    def check() -> None:
        if lost.is_set():
            raise LakeError(f"the lease on {name} was lost to another run; run again")

    thread = threading.Thread(target=renew, name=f"lease-{name}", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stop.set()
        thread.join()
        if not lost.is_set():
            held.take(number + 1, holder={"released": True})

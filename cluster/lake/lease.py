"""A lease: who works on a candidate now, so that two runs never generate the same answers.

A lease is a row of numbered, create-only files: taking or renewing it means creating the next
number, and the store lets only one process do that. Staleness is judged by the observer's own
monotonic clock (the newest number has not moved for a while), so a wall clock that jumps takes no
lease away. A holder on the same machine whose process is gone loses it at once.
"""

import json
import logging
import os
import secrets
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

LOG = logging.getLogger("signalbox.lease")
RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0
POLL_SECONDS = 1.0


def _me() -> dict[str, Any]:
    """Who this is; the nonce tells two leases of one process apart."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "started": process_start(pid),
        "nonce": secrets.token_hex(16),
    }


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
    """One holder's side of a lease.

    Attributes:
        number: the newest number this holder created; 0 before it has the lease.
        renewed: monotonic time just before the last number that is known to be the newest.
        trouble: why the last renewal failed; empty when it did not.
        lost: set once somebody else has gone on from our number.
    """

    def __init__(self, name: str, *, lake: Lake) -> None:
        self.name = name
        self.folder = lake.storage.join("leases", name)
        self.storage = lake.storage
        self.me = _me()
        self.number = 0
        self.renewed = 0.0
        self.trouble = ""
        self.lost = threading.Event()

    def acquire(self, *, waiting: Callable[[str], None]) -> None:
        """Wait until the lease is free or stale, and take it."""
        seen, since = -1, time.monotonic()
        while True:
            now = time.monotonic()
            entry = self._newest()
            self.number = entry.number if entry else 0
            if self.number != seen:
                seen, since = self.number, time.monotonic()
            stale = time.monotonic() - since > STALE_SECONDS
            free = entry is None or entry.released or entry.dead or stale
            if free and self._advance(self.me):
                self.renewed = now
                return
            holder = entry.holder if entry else {}
            waiting(f"{holder.get('host', '?')} process {holder.get('pid', '?')}")
            time.sleep(POLL_SECONDS)

    def keep(self, stop: threading.Event) -> None:
        """Renew it again and again until told to stop, or until it is lost."""
        while not stop.wait(RENEW_SECONDS) and not self.lost.is_set():
            try:
                self._renew()
            # Whatever the store raises, the next try may go through; `check` counts the seconds.
            except Exception as error:  # noqa: BLE001
                self.trouble = f"{type(error).__name__}: {error}"
                LOG.warning("the lease on %s was not renewed (%s)", self.name, self.trouble)

    def check(self) -> None:
        """Make sure it is still ours.

        Raises:
            LakeError: another run took it, or may have because no renewal went through.
        """
        if self.lost.is_set():
            raise LakeError(f"the lease on {self.name} was lost to another run; run again")
        age = time.monotonic() - self.renewed
        if age > STALE_SECONDS:
            reason = f" ({self.trouble})" if self.trouble else ""
            raise LakeError(
                f"the lease on {self.name} could not be renewed for {age:.0f} s{reason}, so "
                "another run may have it; run again once the lake can be written"
            )

    def release(self) -> None:
        """Give it back; where the store refuses, others wait until it is stale."""
        if self.lost.is_set():
            return
        try:
            self._advance({"released": True, "nonce": self.me["nonce"]})
        # The work is committed by now, and must not fail because of this.
        except Exception as error:  # noqa: BLE001
            LOG.warning("the lease on %s was not given back (%s)", self.name, error)

    def _renew(self) -> None:
        now = time.monotonic()
        if self._advance(self.me):
            self.renewed, self.trouble = now, ""
        else:
            self.lost.set()

    def _advance(self, holder: dict[str, Any]) -> bool:
        """Create the next number; False when the lease is somebody else's."""
        content = json.dumps(holder).encode()
        while True:
            found = self._create(self.number + 1, content=content)
            if found is None or json.loads(found).get("nonce") != self.me["nonce"]:
                return False
            self.number += 1
            if self.number > 1:
                self.storage.delete(self._uri(self.number - 1))
            # Another content of our own is of a try that failed as far as we were told.
            if found == content:
                return self._is_newest()

    def _create(self, number: int, *, content: bytes) -> bytes | None:
        """Create a number; returns what stands there now.

        A store that refuses it may hold our own: of a try whose answer was lost.
        """
        try:
            self.storage.write_new(self._uri(number), content)
        except FileExistsError:
            return self.storage.read_bytes_or_none(self._uri(number))
        return content

    def _is_newest(self) -> bool:
        """Whether the number just created is the last; if not, it is given back.

        Between a look and a take others may have gone on by two, which frees the number between;
        so may they while this process stood still.
        """
        newest = self._newest()
        if newest is not None and newest.number == self.number:
            return True
        self.storage.delete(self._uri(self.number))
        return False

    def _newest(self) -> _Entry | None:
        found = self.storage.list(self.folder)
        if not found:
            return None
        uri = max(uri for uri, _ in found)
        content = self.storage.read_bytes_or_none(uri)
        number = int(uri.rsplit("/", 1)[-1].removesuffix(".json"))
        return _Entry(number=number, holder=json.loads(content or b'{"released": true}'))

    def _uri(self, number: int) -> str:
        return f"{self.folder}/{number:012d}.json"


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
        LakeError: from the check, when the lease was lost or could not be renewed for as long as
            others wait (the store was away, or this process stood still).
    """
    held = _Lease(name, lake=lake)
    held.acquire(waiting=waiting)
    failpoint("lease.taken")
    stop = threading.Event()
    thread = threading.Thread(target=held.keep, args=[stop], name=f"lease-{name}", daemon=True)
    thread.start()
    try:
        yield held.check
    finally:
        stop.set()
        thread.join()
        held.release()

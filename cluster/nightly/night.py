"""A night: the folder that says what it began with, what it has settled, and what it came to.

nights/<series>/<number>/begun.json     what was there to do, made once
                        <step>.json     what a step has settled, made once
                        report.html     the page
                        manifest.json   written last: its existence means closed

All of these but the page are created and never replaced. So a night that was killed goes on with
what it began with, whoever runs it again, and two who run at once do one night together: whoever
settles a step first settles it for both. A series is the nights of equal parameters.

A night is closed once, finished or abandoned, whichever comes first: both are its manifest. Who
still works on one that another has abandoned is told so at the next step.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake
from cluster.storage import Storage

NIGHTS, BEGUN, MANIFEST, PAGE = "nights", "begun.json", "manifest.json", "report.html"
ABANDONED = "abandoned"
Facts = dict[str, Any]


class NightAbandonedError(InputError):
    """The night that is worked on was abandoned by another run."""


@dataclass(frozen=True)
class Night:
    """One night of a series.

    Attributes:
        storage: of the lake.
        series: a hash of the parameters.
        number: from 1.
        begun: what it began with; JSON values.
        resumed: whether it was begun by another run.
    """

    storage: Storage
    series: str
    number: int
    begun: Facts
    resumed: bool

    @classmethod
    def open(
        cls,
        lake: Lake,
        *,
        series: str,
        begin: Callable[[Facts | None], Facts],
        give_up: Callable[["Night"], str] = lambda _: "",
    ) -> "Night":
        """The series' unfinished night, or a new one.

        Args:
            lake: where.
            series: a hash of the parameters.
            begin: what a new night begins with, given the manifest of the last one that was closed
                (None for none).
            give_up: why an unfinished night is not gone on with, in words, and then it is abandoned
                and the next begins; empty: it is gone on with.
        """
        storage = lake.storage
        there = _files(storage, series=series)
        last = max((number for number, name in there if name == BEGUN), default=0)
        before = None
        if last:
            uri = _uri(storage, series, last)
            night = cls(storage, series, last, _read(storage, uri), resumed=True)
            reason = "" if (last, MANIFEST) in there else give_up(night)
            if (last, MANIFEST) not in there and not reason:
                return night
            before = night.abandon(reason) if reason else _read(storage, night.uri(MANIFEST))
        begun = _once(storage, _uri(storage, series, last + 1), lambda: begin(before))
        return cls(storage, series, last + 1, begun, resumed=False)

    @property
    def name(self) -> str:
        """What it is called in events: the series and the number."""
        return f"{self.series}-{self.number}"

    def uri(self, name: str) -> str:
        """Where a file of it lies."""
        return _uri(self.storage, self.series, self.number, name)

    def settled(self, step: str) -> Facts | None:
        """What a step has settled; None where it has not."""
        content = self.storage.read_bytes_or_none(self.uri(f"{step}.json"))
        return json.loads(content) if content else None

    def settle(self, step: str, make: Callable[[], Facts]) -> Facts:
        """What a step has settled, now or in an earlier run: `make` is asked once in a night.

        Raises:
            NightAbandonedError: nothing was settled, and the night was abandoned meanwhile.
        """

        def made() -> Facts:
            self.require_open()
            return make()

        return _once(self.storage, self.uri(f"{step}.json"), made)

    def require_open(self) -> None:
        """Make sure that nobody has abandoned the night.

        Raises:
            NightAbandonedError: somebody has.
        """
        content = self.storage.read_bytes_or_none(self.uri(MANIFEST))
        if content:
            _require_finished(self, json.loads(content))

    def abandon(self, why: str) -> Facts:
        """Close the night as it is, with the reason; its manifest, which is another's where another
        has closed it before.

        Where the rewards and the lake stood is as when it began, so that the next night looks at
        all that has come since.
        """
        manifest = {
            "verdict": ABANDONED,
            "why": why,
            "night": self.name,
            "number": self.number,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rewards_version": self.begun.get("rewards"),
            "standing": self.begun.get("standing"),
        }
        return _once(self.storage, self.uri(MANIFEST), lambda: manifest)

    def write_page(self, page: bytes) -> None:
        """Write the page, over an earlier run's."""
        failpoint("night.page.before")
        self.storage.write(self.uri(PAGE), page)
        failpoint("night.page.after")

    def finish(self, manifest: Facts) -> Facts:
        """Write what it came to; of two who finish, the first one's word counts.

        Raises:
            NightAbandonedError: it was abandoned meanwhile.
        """
        closed = _once(self.storage, self.uri(MANIFEST), lambda: manifest)
        _require_finished(self, closed)
        return closed


def _require_finished(night: Night, closed: Facts) -> None:
    if closed.get("verdict") == ABANDONED:
        raise NightAbandonedError(
            f"night {night.number} was abandoned by another run while this one worked on it: "
            f"{closed['why']}; what was answered is kept"
        )


def _once(storage: Storage, uri: str, make: Callable[[], Facts]) -> Facts:
    """The JSON object at `uri`, which is made where it is not there; of several who make it at
    once, all get the first one's."""
    content = storage.read_bytes_or_none(uri)
    if content is None:
        made = json.dumps(make(), indent=2).encode()
        failpoint("night.settle.before")
        try:
            storage.write_new(uri, made)
            content = made
        except FileExistsError:
            content = storage.read_bytes(uri)
        failpoint("night.settle.after")
    found: Facts = json.loads(content)
    return found


def _read(storage: Storage, uri: str) -> Facts:
    found: Facts = json.loads(storage.read_bytes(uri))
    return found


def _uri(storage: Storage, series: str, number: int, name: str = BEGUN) -> str:
    return storage.join(NIGHTS, series, f"{number:05d}", name)


def _files(storage: Storage, *, series: str) -> set[tuple[int, str]]:
    """(number, name) of every file of the series' nights."""
    root = storage.join(NIGHTS, series)
    below = [uri.removeprefix(f"{root}/").split("/") for uri, _ in storage.list(root)]
    return {(int(parts[0]), parts[1]) for parts in below if len(parts) == 2 and parts[0].isdigit()}

"""The folders below `runs/`: what unfinished ones pin, and which have had their day.

A run is finished once it has a manifest. An unfinished one may be going on, or be waited for by a
rerun that would go on from its scratch: it pins the versions its spec names until it has been
silent for as long as the retention.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from cluster.lake.lake import Lake
from cluster.lake.tables import REWARDS
from cluster.storage import Entry

RUNS = "runs"
SPEC, MANIFEST = "spec.json", "manifest.json"
# As `JobSpec.work_id` makes it. What else somebody keeps in a folder of that name is not ours.
WORK_ID = re.compile(r"[a-z_]+-[0-9a-f]{16}")


@dataclass(frozen=True)
class RunFolder:
    """One folder below `runs/`.

    Attributes:
        work_id: its name.
        entries: all its files.
        touched: when the newest of them was written, in seconds since 1970.
    """

    work_id: str
    entries: tuple[Entry, ...] = field(repr=False)
    touched: float

    @property
    def is_finished(self) -> bool:
        return any(entry.uri.endswith(f"/{self.work_id}/{MANIFEST}") for entry in self.entries)

    @property
    def size(self) -> int:
        """Bytes in it."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Pins:
    """What unfinished runs depend on.

    Attributes:
        versions: table's name → version → the run that reads it.
        texts: what their specs say, for other things that they may name.
    """

    versions: dict[str, dict[int, str]]
    texts: tuple[str, ...] = field(repr=False)

    def name(self, word: str) -> bool:
        """Whether a spec says the word: a run's or a router's name."""
        return any(word in text for text in self.texts)


def run_folders(lake: Lake) -> list[RunFolder]:
    """Every folder of a run below `runs/`, by name."""
    prefix = lake.storage.join(RUNS) + "/"

    def work_id(entry: Entry) -> str:
        return entry.uri.removeprefix(prefix).split("/")[0]

    entries = sorted(lake.storage.entries(prefix.rstrip("/")), key=work_id)
    found = ((name, tuple(own)) for name, own in groupby(entries, key=work_id))
    return [
        RunFolder(name, own, max(entry.modified for entry in own))
        for name, own in found
        if WORK_ID.fullmatch(name)
    ]


def pins(folders: Collection[RunFolder], *, lake: Lake, since: float) -> Pins:
    """What the runs depend on that are unfinished and were heard of since then."""
    versions: dict[str, dict[int, str]] = {}
    texts = []
    for folder in folders:
        if folder.is_finished or folder.touched < since:
            continue
        content = lake.storage.read_bytes_or_none(lake.storage.join(RUNS, folder.work_id, SPEC))
        texts.append((content or b"").decode(errors="replace"))
        for table, version in _inputs(texts[-1]):
            versions.setdefault(table, {})[version] = folder.work_id
    return Pins(versions, tuple(texts))


def _inputs(text: str) -> Iterator[tuple[str, int]]:
    """(table, version) of every table a spec pins; none of one that is half written."""
    try:
        spec: Any = json.loads(text)
    except ValueError:
        return
    if not isinstance(spec, dict):
        return
    inputs = spec.get("inputs")
    if isinstance(inputs, dict):
        yield from ((table, version) for table, version in inputs.items() if type(version) is int)
    # What an admission compares with.
    if type(before := spec.get("before")) is int:
        yield REWARDS.name, before


def outdated(folders: Collection[RunFolder], *, pinned: Pins, before: float) -> list[RunFolder]:
    """Runs that nobody has touched since then, and that no unfinished run reads from."""
    return [
        folder for folder in folders if folder.touched < before and not pinned.name(folder.work_id)
    ]


def delete_folder(folder: RunFolder, *, lake: Lake) -> None:
    """Delete a run's folder, its manifest first: what is half deleted must not pass for done."""
    lake.storage.delete(lake.storage.join(RUNS, folder.work_id, MANIFEST))
    lake.storage.delete_below(lake.storage.join(RUNS, folder.work_id))

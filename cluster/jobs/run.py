"""A run: the folder of a spec, where its job leaves word of itself.

runs/<work_id>/spec.json        written once, before the job starts
               progress.json    replaced about once a second while the job runs
               follower.json    rewritten while somebody waits for the job
               error.json       why the last attempt failed, in words for the user
               scratch/         what a rerun would go on from; gone once there is a manifest
               manifest.json    written last: its existence means complete
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from cluster.errors import InputError, SignalboxError
from cluster.failpoint import failpoint
from cluster.jobs.follower import end_without_follower
from cluster.jobs.spec import JobSpec
from cluster.process import end_with_ray
from cluster.storage import Storage

Manifest = dict[str, Any]
SpecT = TypeVar("SpecT", bound=JobSpec)

PROGRESS_SECONDS = 1.0
SCRATCH = "scratch"
LOG = logging.getLogger("signalbox")


@dataclass(frozen=True)
class Part:
    """How far one part of a job is.

    Attributes:
        name: what is counted: a candidate's name, a file.
        done: units done, adopted ones included.
        total: units in all; 0 when not known yet.
        unit: "rows", "files".
        note: anything worth showing beside the bar.
    """

    name: str
    done: int
    total: int
    unit: str = "rows"
    note: str = ""


@dataclass
class Run:
    """The folder of one spec."""

    storage: Storage
    work_id: str
    parts: dict[str, Part] = field(default_factory=dict)
    written: float = 0.0

    @classmethod
    def of(cls, spec: JobSpec) -> "Run":
        return cls(storage=Storage.at(spec.lake), work_id=spec.work_id)

    def uri(self, *names: str) -> str:
        return self.storage.join("runs", self.work_id, *names)

    def write_spec(self, spec: JobSpec) -> str:
        """Keep the spec; the same spec is already there on a rerun."""
        self.storage.write(self.uri("spec.json"), spec.model_dump_json(indent=2).encode())
        return self.uri("spec.json")

    def progress(self, part: Part, *, now: bool = False) -> None:
        """Say how far a part is; written at most once a second, and at once with `now`."""
        self.parts[part.name] = part
        if now or time.monotonic() - self.written > PROGRESS_SECONDS:
            parts = [asdict(part) for part in self.parts.values()]
            self.storage.write(self.uri("progress.json"), json.dumps({"parts": parts}).encode())
            self.written = time.monotonic()

    def read_progress(self) -> list[Part]:
        """The parts as last written; empty before the first word."""
        content = self.storage.read_bytes_or_none(self.uri("progress.json"))
        return [Part(**part) for part in json.loads(content)["parts"]] if content else []

    def read_manifest(self) -> Manifest | None:
        """The manifest of a finished run whose outputs are all still there, or None."""
        content = self.storage.read_bytes_or_none(self.uri("manifest.json"))
        if content is None:
            return None
        manifest: Manifest = json.loads(content)
        return manifest if _all_exist(manifest.get("outputs", [])) else None

    def write_manifest(self, manifest: Manifest) -> None:
        failpoint("manifest.before")
        self.storage.write(self.uri("manifest.json"), json.dumps(manifest).encode())
        failpoint("manifest.after")
        self.storage.delete_below(self.uri(SCRATCH))

    def read_error(self) -> str | None:
        """Why the last attempt failed, in words for the user; None if it did not say."""
        content = self.storage.read_bytes_or_none(self.uri("error.json"))
        return str(json.loads(content)["message"]) if content else None

    def write_error(self, message: str) -> None:
        self.storage.write(self.uri("error.json"), json.dumps({"message": message}).encode())

    def clear(self) -> None:
        """Forget the words of an earlier attempt.

        Its manifest stays: another submitter of the same work may be about to read it, and one
        whose outputs are gone counts for nothing.
        """
        for name in ("error.json", "progress.json"):
            self.storage.delete(self.uri(name))


def _all_exist(uris: Sequence[str]) -> bool:
    return all(Storage.at(uri).filesystem().exists(uri) for uri in uris)


def main(spec_type: type[SpecT], *, work: Callable[[SpecT, Run], Manifest]) -> None:
    """Entrypoint of every job: `python -m cluster.jobs.<name> <spec uri>`.

    Exit status 0 with a manifest, 1 with `error.json`.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", datefmt="%H:%M:%S"
    )
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python -m cluster.jobs.{spec_type.job} SPEC_URI")
    spec = _read_spec(spec_type, uri=sys.argv[1])
    run = Run.of(spec)
    end_with_ray()
    end_without_follower(run)
    # One whose outputs are gone would count again as soon as they are back, complete or not. A
    # sound one is another submitter's, who did the same work meanwhile and is about to read it.
    if run.read_manifest() is None:
        run.storage.delete(run.uri("manifest.json"))
    try:
        run.write_manifest(work(spec, run))
    except Exception as error:
        told = _told(error)
        # First into the log: where the disk is full it may be the only place left.
        LOG.error("%s", told)
        _keep_error(told, run=run)
        raise SystemExit(1) from error


def _keep_error(told: str, *, run: Run) -> None:
    """Leave word of why the job failed; where that cannot be written the log has it."""
    try:
        run.write_error(told)
    except (OSError, SignalboxError) as error:
        LOG.error("the reason is not in %s (%s)", run.uri("error.json"), error)


def _told(error: Exception) -> str:
    """The user's errors in their own words, ours with the traceback."""
    # Ray hands on an actor's error with its traceback as text and the error itself as `cause`.
    told = getattr(error, "cause", error)
    return str(told) if isinstance(told, SignalboxError) else traceback.format_exc()


def _read_spec(spec_type: type[SpecT], *, uri: str) -> SpecT:
    folder = Storage.at(uri.rsplit("/", 1)[0])
    content = folder.read_bytes_or_none(folder.join(uri.rsplit("/", 1)[-1]))
    if content is None:
        raise InputError(f"{uri}: no spec is there")
    return spec_type.parse(content)

"""The take job: the new files of a watched folder become rows of `queries`, each file once.

A file that cannot be used as it is (cut off, damaged, too many broken rows) is left, with the
reason, and the others are taken: one bad delivery must not cost a night.
"""

import json
import logging
from datetime import UTC, datetime
from typing import ClassVar

import polars as pl

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.files.batch import ROW
from cluster.files.quarantine import Quarantine
from cluster.files.source import SourceFile
from cluster.jobs.ingest import IngestSpec, PinnedFile, read_queries
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES, WATCHED
from cluster.nightly.watched import LeftFile, WatchedFile, opened

LOG = logging.getLogger("signalbox.take")
# Of the end of a file: a line of JSON that is longer is not looked at for being whole.
LAST_BYTES = 1 << 20


class TakeSpec(JobSpec):
    """What to take.

    Attributes:
        files: as they were when the folder was looked at.
        dataset, text_column, task_column, reference_column, messages_column: as `IngestSpec`.
        max_error_share: a file with more broken rows than this share is left.
    """

    job: ClassVar[str] = "take"

    files: tuple[WatchedFile, ...]
    dataset: str
    text_column: str
    task_column: str
    reference_column: str
    messages_column: str
    max_error_share: float


def take(spec: TakeSpec, run: Run) -> Manifest:
    """Append the files' queries that are new; returns what was taken and what was left."""
    lake = Lake.open(spec.lake)
    taken, left = [], []
    for number, file in enumerate(spec.files):
        try:
            rows, broken, digest = _read(file, number=number, spec=spec, run=run)
        except InputError as error:
            LOG.warning("%s is left: %s", file.uri, error)
            left.append(LeftFile(uri=file.uri, why=str(error)).model_dump())
        else:
            taken.append(_keep(rows, file=file, digest=digest, broken=broken, spec=spec, lake=lake))
        run.progress(Part("files", done=number + 1, total=len(spec.files), unit="files"))
    return {
        "outputs": [],
        "dataset": spec.dataset,
        "taken": taken,
        "left": left,
        "new_queries": sum(file["new_queries"] for file in taken),
    }


def _read(
    file: WatchedFile, *, number: int, spec: TakeSpec, run: Run
) -> tuple[pl.DataFrame, int, str]:
    """The file's rows, its number of broken ones, and its digest.

    Raises:
        InputError: it cannot be used, or is not whole.
    """
    source = opened(file)
    _require_whole(source)
    pinned = PinnedFile(uri=file.uri, digest=source.digest())
    ingest = IngestSpec(
        files=(pinned,), **spec.model_dump(include=set(IngestSpec.model_fields) - {"files"})
    )
    uri = run.uri(f"quarantine-{number}.jsonl")
    with Quarantine(uri, max_error_share=spec.max_error_share) as quarantine:
        frames = list(read_queries(ingest, quarantine=quarantine, progress=lambda _: None))
        quarantine.finish()
    opened(file)
    return pl.concat(frames), quarantine.broken, pinned.digest


def _require_whole(source: SourceFile) -> None:
    """Make sure that the last line of a JSON Lines file is one, as far as it can be told.

    Raises:
        InputError: it is cut off.
    """
    if source.format != "jsonl" or source.compression != "none":
        return
    with source.open() as stored:
        stored.seek(max(0, source.size - LAST_BYTES))
        end: bytes = stored.read()
    line = end.rpartition(b"\n")[2]
    if line.strip() and len(line) < LAST_BYTES and not _is_json(line):
        raise InputError(f"{source.uri}: its last line is cut off, so it is still being written")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _keep(
    rows: pl.DataFrame,
    *,
    file: WatchedFile,
    digest: str,
    broken: int,
    spec: TakeSpec,
    lake: Lake,
) -> Manifest:
    """Append what is new and note the file; a file that was noted is done with."""
    queries = rows.unique("query_id", keep="first", maintain_order=True).drop(ROW, "file")
    failpoint("take.before")
    new = append_new(queries, lake=lake, table=QUERIES)
    failpoint("take.queries_committed")
    known = {
        "uri": file.uri,
        "rows": rows.height + broken,
        "new_queries": new,
        "broken": broken,
    }
    noted = known | {
        "stamp": file.stamp,
        "dataset": spec.dataset,
        "digest": digest,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    append_new(WATCHED.conform(pl.DataFrame([noted])).collect(), lake=lake, table=WATCHED)
    failpoint("take.noted")
    return known


if __name__ == "__main__":
    main(TakeSpec, work=take)

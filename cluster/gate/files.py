"""Files that are named for their content: written once, read back only as they were written."""

import hashlib
import io
from contextlib import suppress

import polars as pl

from cluster.errors import LakeError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake

FOLDER = "snapshots"


def snapshot_uri(lake: Lake, name: str, *parts: str) -> str:
    """Where a snapshot, or a file of it, lies."""
    return lake.storage.join(FOLDER, name, *parts)


def keep(frame: pl.DataFrame, *, lake: Lake, name: str) -> str:
    """Write a file under the hash of its content, if it is not there; returns the hash."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    content = buffer.getvalue()
    sha = hashlib.sha256(content).hexdigest()
    failpoint("snapshot.file")
    with suppress(FileExistsError):
        lake.storage.write_new(snapshot_uri(lake, name, "files", f"{sha}.parquet"), content)
    return sha


def read_kept(sha: str, *, lake: Lake, name: str) -> pl.DataFrame:
    """The file that `keep` wrote.

    Raises:
        LakeError: it is gone, or was changed.
    """
    uri = snapshot_uri(lake, name, "files", f"{sha}.parquet")
    content = lake.storage.read_bytes_or_none(uri)
    if content is None or hashlib.sha256(content).hexdigest() != sha:
        what = "is gone" if content is None else "was changed"
        raise LakeError(
            f"{uri}: {what} since the snapshot was frozen, so nothing is measured by it; bring the "
            "file back, or freeze a new one with 'signalbox snapshot create'"
        )
    return pl.read_parquet(io.BytesIO(content))

"""Where a run keeps what is to be answered, beyond its own end.

runs/<work_id>/answers/rows/<key>.parquet      the routed rows of a shard
                       ids/<key>.parquet       their query ids, row by row
                       asked/00000.parquet …   the distinct requests, in the order of the input
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from cluster.storage import Storage

FOLDER = "answers"


@dataclass(frozen=True)
class AnswerFolder:
    """The folder.

    Attributes:
        uri: local path or `s3://` address.
    """

    uri: str

    @property
    def asked(self) -> str:
        """Folder of the requests."""
        return f"{self.uri}/asked"

    def keep_rows(self, key: str, *, source: str) -> None:
        """Keep a shard's rows whole, as they are in another file."""
        Storage.at(self.uri).copy_from(source, f"{self.uri}/rows/{key}.parquet")

    def write_rows(self, key: str, rows: pl.DataFrame) -> None:
        """Keep some of a shard's rows."""
        write_frame(rows, f"{self.uri}/rows/{key}.parquet")

    def write_ids(self, key: str, ids: pl.Series) -> None:
        """Keep the query ids of a shard's rows."""
        write_frame(ids.to_frame(), f"{self.uri}/ids/{key}.parquet")

    def shards(self) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
        """Rows and their query ids, shard by shard in the order of the input."""
        for uri in frames_in(f"{self.uri}/rows"):
            ids = uri.replace(f"{self.uri}/rows/", f"{self.uri}/ids/")
            yield read_frame(uri), read_frame(ids)["query_id"]

    def clear(self) -> None:
        """Forget an attempt that did not come to its end."""
        Storage.at(self.uri).delete_below(self.uri)


def frames_in(folder: str) -> list[str]:
    """The Parquet files of a folder, by name."""
    return [uri for uri, _ in Storage.at(folder).list(folder) if uri.endswith(".parquet")]


def write_frame(frame: pl.DataFrame, uri: str) -> None:
    """Write or replace one."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    Storage.at(uri).write(uri, buffer.getvalue())


def read_frame(uri: str) -> pl.DataFrame:
    """Read one."""
    return pl.read_parquet(io.BytesIO(Storage.at(uri).read_bytes(uri)))

"""Where a run keeps what is to be answered, beyond its own end.

runs/<work_id>/answers/rows/<key>.parquet      the routed rows of a shard
                       ids/<key>.parquet       their query ids, row by row
                       json/<key>.json         names of the columns that hold JSON
                       asked/00000.parquet …   the distinct requests, in the order of the input
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cluster.storage import Storage

FOLDER = "answers"


@dataclass(frozen=True)
class Asking:
    """Rows of a shard that are to be answered.

    Attributes:
        key: the shard's.
        rows: the routed rows.
        ids: (n_rows,) their query ids.
        json_columns: columns of the rows that hold JSON of what were lists and objects.
    """

    key: str
    rows: pl.DataFrame
    ids: pl.Series
    json_columns: tuple[str, ...] = ()


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

    def write_ids(self, key: str, ids: pl.Series, *, json_columns: Sequence[str]) -> None:
        """Keep the query ids of a shard's rows, and which of their columns hold JSON."""
        write_frame(ids.to_frame(), f"{self.uri}/ids/{key}.parquet")
        if json_columns:
            names = json.dumps(list(json_columns)).encode()
            Storage.at(self.uri).write(f"{self.uri}/json/{key}.json", names)

    def shards(self) -> Iterator[Asking]:
        """What is to be answered, shard by shard in the order of the input."""
        storage = Storage.at(self.uri)
        for uri in frames_in(f"{self.uri}/rows"):
            key = uri.rsplit("/", 1)[-1].removesuffix(".parquet")
            ids = read_frame(f"{self.uri}/ids/{key}.parquet")["query_id"]
            names = storage.read_bytes_or_none(f"{self.uri}/json/{key}.json")
            yield Asking(key, read_frame(uri), ids, tuple(json.loads(names or b"[]")))

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

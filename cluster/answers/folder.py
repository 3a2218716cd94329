"""Where a run keeps what is to be answered, beyond its own end.

runs/<work_id>/answers/rows/<key>.parquet      the routed rows of a shard
                       asks/<key>.parquet      the request of each row
                       json/<key>.json         names of the columns that hold JSON
                       asked/00000.parquet …   the distinct requests, in the order of the input
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cluster.answers.asks import ASK
from cluster.storage import Storage

FOLDER = "answers"


@dataclass(frozen=True)
class Asking:
    """Rows of a shard that are to be answered.

    Attributes:
        key: the shard's.
        rows: the routed rows.
        asks: (n_rows,) the request of each (`cluster.answers.asks.ask_key`).
        json_columns: columns of the rows that hold JSON of what were lists and objects.
    """

    key: str
    rows: pl.DataFrame
    asks: pl.Series
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

    def write_asks(self, key: str, asks: pl.Series, *, json_columns: Sequence[str]) -> None:
        """Keep the request of each of a shard's rows, and which of their columns hold JSON."""
        write_frame(asks.to_frame(), f"{self.uri}/asks/{key}.parquet")
        if json_columns:
            names = json.dumps(list(json_columns)).encode()
            Storage.at(self.uri).write(f"{self.uri}/json/{key}.json", names)

    def shards(self) -> Iterator[Asking]:
        """What is to be answered, shard by shard in the order of the input."""
        storage = Storage.at(self.uri)
        for uri in frames_in(f"{self.uri}/rows"):
            key = uri.rsplit("/", 1)[-1].removesuffix(".parquet")
            asks = read_frame(f"{self.uri}/asks/{key}.parquet")[ASK]
            names = storage.read_bytes_or_none(f"{self.uri}/json/{key}.json")
            yield Asking(key, read_frame(uri), asks, tuple(json.loads(names or b"[]")))

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

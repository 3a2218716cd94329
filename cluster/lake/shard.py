"""A shard: a Parquet file that a worker creates once inside a table's folder.

It is data only after a commit names it. Before, it is staged: invisible to readers, found by a
listing, and adopted by the next run if the one that made it died.
"""

import io
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from cluster.errors import LakeError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake, active_files, removed_files
from cluster.lake.tables import Table
from cluster.query import digest
from cluster.storage import Storage

ADOPTABLE = "shard-"


@dataclass(frozen=True)
class Shard:
    """A staged file.

    Attributes:
        path: relative to its table's folder, as the Delta log names it.
        partition: value of the table's partition column, or None.
        rows: number of rows its writer put in.
        size: bytes.
    """

    path: str
    partition: str | None
    rows: int
    size: int


def shard_name(keys: pl.DataFrame, *, prefix: str = ADOPTABLE) -> str:
    """A name that says which keys are inside: the same work has the same name."""
    rows = (str(value) for row in keys.sort(keys.columns).iter_rows() for value in row)
    return f"{prefix}{digest(rows)[:40]}.parquet"


def write_shard(
    frame: pl.DataFrame, *, lake: Lake, table: Table, partition: str | None = None, name: str = ""
) -> Shard:
    """Create a shard; one that is there already under this name is left and returned.

    Args:
        frame: rows of the table (without the partition's column, or constant in it); columns it
            lacks are null.
        lake: where to.
        table: whose folder it goes to.
        partition: value of the partition column, if the table has one.
        name: file name; by default derived from the keys.
    """
    assert (partition is None) == (table.partition is None), table.name
    rows = table.conform(frame).select(list(table.file_schema)).collect()
    keys = [column for column in table.key if column != table.partition]
    folder = f"{table.partition}={partition}/" if table.partition else ""
    path = folder + (name or shard_name(rows.select(keys)))
    content = _parquet(rows)
    uri = f"{lake.table_uri(table)}/{path}"
    failpoint("shard.before_write")
    try:
        lake.storage.write_new(uri, content)
    except FileExistsError:
        return read_shard(uri, lake=lake, table=table)
    failpoint("shard.after_write")
    return Shard(path=path, partition=partition, rows=rows.height, size=len(content))


def _parquet(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def read_shard(uri: str, *, lake: Lake, table: Table) -> Shard:
    """What a staged file says of itself.

    Raises:
        LakeError: its footer is damaged or its columns are not the table's.
    """
    path = uri.removeprefix(lake.table_uri(table) + "/")
    partition = path.split("/")[0].partition("=")[2] if table.partition else None
    rows, size = _footer(uri, storage=lake.storage, table=table)
    return Shard(path=path, partition=partition, rows=rows, size=size)


def shard_if_there(name: str, *, lake: Lake, table: Table, partition: str) -> Shard | None:
    """The shard of this name in a partition's folder, or None."""
    uri = f"{lake.table_uri(table)}/{table.partition}={partition}/{name}"
    if not lake.storage.filesystem().exists(uri):
        return None
    return read_shard(uri, lake=lake, table=table)


def check_shard(shard: Shard, *, lake: Lake, table: Table) -> None:
    """Compare what a worker said of a shard with what lies there.

    A shard with a wrong type or a missing file would commit, and then every read would fail.

    Raises:
        LakeError: it is missing, damaged, or not what was said.
    """
    uri = f"{lake.table_uri(table)}/{shard.path}"
    found = _footer(uri, storage=lake.storage, table=table)
    if found != (shard.rows, shard.size):
        raise LakeError(
            f"{uri}: expected {shard.rows} rows in {shard.size} bytes, found {found[0]} rows in "
            f"{found[1]} bytes; delete the file and run again"
        )


def _footer(uri: str, *, storage: Storage, table: Table) -> tuple[int, int]:
    """(rows, bytes) of a Parquet file whose columns must be the table's."""
    files = storage.filesystem()
    try:
        with files.open(uri, "rb") as stream:
            size = int(files.info(uri)["size"])
            footer = pq.ParquetFile(stream)
            rows, schema = footer.metadata.num_rows, footer.schema_arrow
    except (OSError, ValueError, pa.ArrowException, MemoryError, OverflowError) as error:
        raise LakeError(f"{uri}: is no readable Parquet file ({error}); delete it") from error
    found = dict(pl.DataFrame(schema.empty_table()).schema)
    if not _fits(found, table=table):
        raise LakeError(
            f"{uri}: columns {found} are not those of table '{table.name}' "
            f"({table.file_schema}); delete the file"
        )
    return rows, size


def _fits(found: Mapping[str, pl.DataType], *, table: Table) -> bool:
    """Whether a file's columns are the table's, in order; the newest may be missing from a file
    that was written before the table got them."""
    expected = list(table.file_schema.items())
    return list(found.items()) == expected[: len(found)] and set(table.key) <= {
        *found,
        table.partition,
    }


def add_action(shard: Shard, *, table: Table) -> AddAction:
    """The line of the Delta log that makes a shard part of its table."""
    values = {table.partition: shard.partition} if table.partition else {}
    return AddAction(
        path=shard.path,
        size=shard.size,
        partition_values=values,
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=f'{{"numRecords": {shard.rows}}}',
    )


def staged_shards(lake: Lake, *, table: Table, partition: str) -> list[Shard]:
    """Files of a partition that a worker finished and no version of the table names.

    What compaction or a deletion has taken out of the table is not staged, as long as the log
    remembers it: it would be read again at every plan, and a vacuum may take it at any moment.
    What the log has forgotten looks staged; whoever adopts must compare keys with those committed.
    """
    root = f"{lake.table_uri(table)}/"
    uris = (uri for uri, _ in lake.storage.list(f"{root}{table.partition}={partition}"))
    fresh = [uri for uri in uris if uri.rsplit("/", 1)[-1].startswith(ADOPTABLE)]
    # Loaded after the listing: what was committed and taken out in between is known to it.
    handle = lake.handle(table)
    unnamed = {uri.removeprefix(root) for uri in fresh} - set(active_files(handle)["path"])
    if unnamed:
        unnamed -= removed_files(handle)
    return [
        read_shard(uri, lake=lake, table=table)
        for uri in fresh
        if uri.removeprefix(root) in unnamed
    ]


def read_keys(shards: Iterable[Shard], *, lake: Lake, table: Table) -> list[pl.DataFrame]:
    """The keys inside each shard, partition column included."""
    options = lake.storage.polars_options()
    columns = [column for column in table.key if column != table.partition]
    return [
        pl.read_parquet(
            f"{lake.table_uri(table)}/{shard.path}",
            columns=columns,
            hive_partitioning=False,
            storage_options=options,
        )
        .with_columns(
            pl.lit(shard.partition, dtype=pl.String).alias(column)
            for column in [table.partition]
            if column
        )
        .select(table.key)
        for shard in shards
    ]

"""The lake: one storage root that holds every table, run and checkpoint."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cluster.errors import LakeError
from cluster.failpoint import failpoint
from cluster.lake.migrate import OLDEST, migrate
from cluster.lake.tables import SCHEMA_VERSION, TABLES, Table
from cluster.storage import DEFAULT_ROOT, Storage, telling_full_disk

MARKER = "lake.json"
LAKE_VARIABLE = "SIGNALBOX_LAKE"


@dataclass(frozen=True)
class TableSummary:
    """What `signalbox lake` shows of a table: rows, Delta version, files, bytes."""

    table: str
    rows: int
    version: int
    files: int
    bytes: int


@dataclass(frozen=True)
class Lake:
    """Access to the tables below one root."""

    storage: Storage

    @classmethod
    def open(cls, uri: str | os.PathLike[str], *, create: bool = True) -> "Lake":
        """Open the lake at `uri`, making an empty one where there is none.

        An empty `uri` means `SIGNALBOX_LAKE` of the environment, and without it `./lake`. An older
        lake gets the columns its tables lack.

        Raises:
            LakeError: unreachable, not there (`create=False`), or of a schema version that is
                unknown here.
        """
        lake = cls.at(uri)
        if not create and not lake.storage.is_s3 and not Path(lake.storage.uri).exists():
            raise _no_lake(lake)
        lake.storage.check()
        marker = lake.storage.read_bytes_or_none(lake.storage.join(MARKER))
        if marker is None and not create:
            raise _no_lake(lake)
        if marker is None:
            lake._write_marker()
        else:
            _check_version(lake, marker=marker)
        return lake

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> "Lake":
        """The lake at `uri` as `open` takes it, without a look whether it is there."""
        return cls(storage=Storage.at(uri or os.environ.get(LAKE_VARIABLE) or DEFAULT_ROOT))

    def _write_marker(self) -> None:
        try:
            self.storage.write_new(self.storage.join(MARKER), _marker())
        except FileExistsError:
            marker = self.storage.read_bytes(self.storage.join(MARKER))
            _check_version(self, marker=marker)

    def table_uri(self, table: Table) -> str:
        return self.storage.join(table.name)

    def handle(self, table: Table, *, version: int | None = None) -> DeltaTable:
        """A freshly loaded Delta handle; the table is created empty where there is none."""
        uri, options = self.table_uri(table), self.storage.delta_options()
        try:
            return DeltaTable(uri, version=version, storage_options=options)
        except TableNotFoundError:
            return self._create(table)
        except (DeltaError, OSError) as error:
            raise LakeError(f"{uri}: cannot be opened as a Delta table ({error})") from error

    def _create(self, table: Table) -> DeltaTable:
        try:
            return self._create_table(table)
        except CommitFailedError:  # another process was first
            return self.handle(table)

    def _create_table(self, table: Table) -> DeltaTable:
        empty = pl.DataFrame(schema=table.schema)
        failpoint("create.before")
        with telling_full_disk(self.table_uri(table)):
            handle = DeltaTable.create(
                self.table_uri(table),
                schema=empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema,
                partition_by=[table.partition] if table.partition else None,
                mode="ignore",
                # Two months: longer than any run, so that no reader loses its files to a vacuum.
                configuration={"delta.deletedFileRetentionDuration": "interval 60 days"},
                storage_options=self.storage.delta_options(),
            )
        failpoint("create.after")
        return handle

    def scan(self, table: Table, *, version: int | None = None) -> pl.LazyFrame:
        """The rows of a table, lazily, at a version or as of now."""
        return scan_handle(self.handle(table, version=version), table=table)

    def read(self, table: Table, *, version: int | None = None) -> pl.DataFrame:
        """All rows of a table."""
        return self.scan(table, version=version).collect()

    def version(self, table: Table) -> int:
        """The table's current Delta version."""
        return int(self.handle(table).version())

    def versions(self, tables: Sequence[Table]) -> dict[str, int]:
        """Current versions by table name: what a spec pins as its inputs."""
        return {table.name: self.version(table) for table in tables}

    def summaries(self) -> list[TableSummary]:
        """Rows, version, files and bytes of every table that exists."""
        return [summary for table in TABLES.values() if (summary := self._summary(table))]

    def _summary(self, table: Table) -> TableSummary | None:
        # Not `DeltaTable.is_deltatable`: it keeps the whole process waiting (GIL) for the store.
        if not self.storage.list(f"{self.table_uri(table)}/_delta_log"):
            return None
        handle = self.handle(table)
        files = active_files(handle)
        return TableSummary(
            table=table.name,
            rows=scan_handle(handle, table=table).select(pl.len()).collect().item(),
            version=handle.version(),
            files=files.height,
            bytes=int(files["size_bytes"].sum()),
        )


def scan_handle(handle: DeltaTable, *, table: Table) -> pl.LazyFrame:
    """The rows behind a handle, at the handle's version, in the table's column order.

    A version from before the table got a column reads as null there.
    """
    return table.conform(pl.scan_delta(handle))


def active_files(handle: DeltaTable) -> pl.DataFrame:
    """The files a handle's version consists of: `path` (relative) and `size_bytes`."""
    return pl.DataFrame(handle.get_add_actions(flatten=True)).select("path", "size_bytes")


def removed_files(handle: DeltaTable) -> set[str]:
    """Paths that were part of the table, no longer are, and may lie there still.

    The log remembers them for as long as `delta.deletedFileRetentionDuration` says. Nothing is
    deleted by this: a vacuum that is asked what it would take is the one that tells.
    """
    return set(handle.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False))


def _no_lake(lake: Lake) -> LakeError:
    return LakeError(
        f"{lake.storage.uri}: there is no lake here; name the right one with --lake, or make one "
        "with 'signalbox collect' or 'signalbox import'"
    )


def _check_version(lake: Lake, *, marker: bytes) -> None:
    where = lake.storage.join(MARKER)
    try:
        found = int(json.loads(marker)["schema_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{where}: is not a lake's marker ({error}); is --lake right?") from error
    if found > SCHEMA_VERSION:
        raise LakeError(
            f"{where}: the lake has schema version {found}, this signalbox knows {SCHEMA_VERSION}; "
            "install a newer signalbox"
        )
    if found < OLDEST:
        raise LakeError(
            f"{where}: the lake has schema version {found}, this signalbox needs {SCHEMA_VERSION}; "
            "nothing is known that migrates it; collect into a new one: --lake FOLDER"
        )
    if found < SCHEMA_VERSION:
        migrate(lake)
        lake.storage.write(where, _marker())


def _marker() -> bytes:
    return json.dumps({"schema_version": SCHEMA_VERSION}).encode()

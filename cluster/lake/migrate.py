"""Bringing an older lake to this schema version: columns that tables got since are added.

A migration adds columns and never changes or moves a row, so a reader of the old version and one of
the new see the same facts, and one that was killed half-way is simply done again.
"""

import logging
import random
import time
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable, Field
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import PrimitiveType

from cluster.errors import LakeError
from cluster.lake.tables import TABLES, Table

if TYPE_CHECKING:
    from cluster.lake.lake import Lake

LOG = logging.getLogger("signalbox.lake")
MAX_TURNS = 20
# Version 1 had neither these columns nor anything else that version 2 reads otherwise.
OLDEST = 1
_KINDS: dict[pl.DataType, str] = {
    pl.String(): "string",
    pl.Float64(): "double",
    pl.Int32(): "integer",
    pl.Int64(): "long",
}


def migrate(lake: "Lake") -> None:
    """Add to every table that is there the columns it lacks.

    Raises:
        LakeError: a table cannot be changed.
    """
    for table in TABLES.values():
        if lake.storage.list(f"{lake.table_uri(table)}/_delta_log"):
            _add_columns(table, lake=lake)


def _add_columns(table: Table, *, lake: "Lake") -> None:
    for _ in range(MAX_TURNS):
        handle = lake.handle(table)
        missing = _missing(handle, table=table)
        if not missing:
            return
        try:
            handle.alter.add_columns(missing)
        except (CommitFailedError, DeltaError) as error:  # another process adds them
            failure = error
            time.sleep(random.uniform(0.05, 0.5))
            continue
        LOG.info("%s: added %s", table.name, ", ".join(field.name for field in missing))
        return
    raise LakeError(f"{lake.table_uri(table)}: columns could not be added ({failure})")


def _missing(handle: DeltaTable, *, table: Table) -> list[Field]:
    there = {field.name for field in handle.schema().fields}
    return [
        Field(name, PrimitiveType(_KINDS[kind]), nullable=True)
        for name, kind in table.schema.items()
        if name not in there
    ]

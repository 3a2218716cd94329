"""The files of a route job: looked at before anything is routed, and cut into shards."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from cluster.errors import InputError
from cluster.files.parquet import row_groups
from cluster.files.queries import without_repeats
from cluster.files.reader import read_batches, read_schema
from cluster.files.repeated import Seen
from cluster.files.schema import FileSchema
from cluster.files.source import SourceFile, find_files
from cluster.files.writer import check_writable
from cluster.jobs.ingest import open_pinned
from cluster.jobs.route_queue import Queue
from cluster.jobs.route_worker import Task
from cluster.routing.admission import check_constraints
from cluster.routing.columns import check_columns
from cluster.routing.kernel import Routing
from cluster.routing.output import is_file
from cluster.routing.shard import Stretch, shard_of, shards, stretches
from cluster.routing.spec import RouteSpec
from cluster.routing.texts import check_texts, strict_columns

LOG = logging.getLogger("signalbox.route")


@dataclass(frozen=True)
class ShardSize:
    """How much a shard holds, at most: rows, and bytes as they are in memory."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class Input:
    """A query file, looked at.

    Attributes:
        number: in the spec.
        source: where it is.
        stamp: what it was known by just before it was looked at.
        schema: its columns.
        stretches: its rows, where workers can read them by themselves.
    """

    number: int
    source: SourceFile
    stamp: str
    schema: FileSchema
    stretches: tuple[Stretch, ...] = ()

    @property
    def bytes(self) -> int:
        """How much there is to read: of a Parquet file before compression, of others as stored."""
        return sum(stretch.bytes for stretch in self.stretches) or self.source.size


def look_at(routing: Routing, *, size: ShardSize) -> list[Input]:
    """Every file, looked at before the first row is routed.

    Raises:
        InputError: one has changed, has no rows, lacks the query's column, has one of the added
            columns, or does not fit the others in one output file.
    """
    spec = routing.spec
    inputs = []
    for number, file in enumerate(spec.files):
        stamp = find_files(file.uri)[0].stamp()
        source = open_pinned(file)
        schema = check_texts(read_schema(source), spec=spec, file_format=source.format)
        check_columns(schema, routing=routing)
        check_constraints(schema, routing=routing)
        inputs.append(
            Input(number, source, stamp, schema, _stretches(source, number=number, size=size))
        )
        _check_fits(schema, first=inputs[0].schema, spec=spec)
    return inputs


def _check_fits(schema: FileSchema, *, first: FileSchema, spec: RouteSpec) -> None:
    """Make sure that a file's columns can be written where they are to go, beside the first's.

    Raises:
        InputError: they cannot.
    """
    one_file = is_file(spec.output)
    if (one_file or spec.answer_rows) and schema.dtypes != first.dtypes:
        where, instead = "output file", "name a folder as --output"
        if spec.answer_rows:
            where, instead = "file of answers", "route them one after the other"
        raise InputError(
            f"{schema.file}: its columns differ from those of {first.file}, so they do not "
            f"fit one {where}; {instead}"
        )
    written = spec.output if one_file else f"{spec.output}/rows.{spec.output_format}"
    check_writable(schema.dtypes, uri=written)


def _stretches(source: SourceFile, *, number: int, size: ShardSize) -> tuple[Stretch, ...]:
    """How a Parquet file is read; nothing for other formats, which are read here, in order."""
    if source.format != "parquet":
        return ()
    found = tuple(stretches(row_groups(source), file=number, rows=size.rows))
    if not found:
        raise InputError(f"{source.uri}: no rows in it; fill it or leave it out")
    return found


def queue_of(
    inputs: Sequence[Input], *, spec: RouteSpec, size: ShardSize, done: Collection[str]
) -> Queue:
    """The shards that are left; `done`: the keys of the others."""
    found = (
        shards(stretch, rows=size.rows, size=size.bytes)
        for one in inputs
        for stretch in one.stretches
    )
    return Queue(found, handed=_handed(inputs, spec=spec, size=size), done=done)


def _handed(inputs: Sequence[Input], *, spec: RouteSpec, size: ShardSize) -> Iterator[Task]:
    """The shards of the files that are read here."""
    seen = Seen()
    for one in inputs:
        if one.stretches:
            continue
        batches = read_batches(
            one.source,
            schema=one.schema,
            rows_per_batch=size.rows,
            bytes_per_batch=size.bytes,
            strict_text=strict_columns(spec),
        )
        for batch in batches:
            first = without_repeats(batch, queries=spec.queries, seen=seen)
            yield Task(shard_of(batch, file=one.number), first)


def rows_of(inputs: Sequence[Input]) -> int:
    """Rows of all files; 0 where a file has to be read to know."""
    known = [sum(stretch.rows for stretch in one.stretches) for one in inputs]
    return sum(known) if all(known) else 0

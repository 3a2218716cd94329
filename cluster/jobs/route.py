"""The route job: a query file becomes a routed file, shard by shard, resumable.

Workers pull shards; the routed rows of each are one Parquet part in the run's scratch folder,
written once and whole. A run that was killed goes on after the parts that are there. A policy that
must see the whole file comes after a first pass that keeps what is predicted.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.errors import InputError
from cluster.files.parquet import row_groups
from cluster.files.quarantine import Quarantine, is_hopeless
from cluster.files.queries import without_repeats
from cluster.files.reader import read_batches, read_schema
from cluster.files.repeated import Seen
from cluster.files.schema import FileSchema
from cluster.files.source import SourceFile
from cluster.jobs.ingest import open_pinned
from cluster.jobs.pace import Pace
from cluster.jobs.route_pool import Actors, Alone, Pool, Step
from cluster.jobs.route_queue import Queue
from cluster.jobs.route_worker import RouteWorker, Task
from cluster.jobs.run import SCRATCH, Manifest, Part, Run, main
from cluster.ray_cluster import connect
from cluster.routing.columns import check_columns
from cluster.routing.kernel import Routing, load_routing
from cluster.routing.output import check_name, is_file, refuse_output_that_is_there
from cluster.routing.publish import publish
from cluster.routing.requests import write_requests
from cluster.routing.shard import Shard, Stretch, shard_of, shards, stretches
from cluster.routing.spec import RouteSpec
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary, merged
from cluster.routing.texts import check_texts, strict_columns

LOG = logging.getLogger("signalbox.route")
BATCH_ROWS = 50_000
# Less than this takes one process less time than it takes Ray to start others.
SMALL_BYTES = 32 << 20

Summaries = dict[str, ShardSummary]


@dataclass(frozen=True)
class Input:
    """A query file, looked at.

    Attributes:
        number: in the spec.
        source: where it is.
        schema: its columns.
        stretches: its rows, where workers can read them by themselves.
    """

    number: int
    source: SourceFile
    schema: FileSchema
    stretches: tuple[Stretch, ...] = ()


def route(spec: RouteSpec, run: Run) -> Manifest:
    """Route every row; returns shares, predicted quality and cost, and how long it took.

    Raises:
        InputError: the output's name is none, a file or column is missing, too many rows are
            broken, a candidate has no price though the policy needs one, the router reads answers,
            or the checkpoint is damaged; then there is no output.
    """
    start = time.monotonic()
    check_name(spec.output)
    refuse_output_that_is_there(spec, run=run)
    routing = load_routing(spec)
    inputs = _inputs(routing)
    looked = time.monotonic() - start
    store = Store(run.uri(SCRATCH))
    with _pool(inputs, routing=routing, store=store) as pool:
        job = Job(spec, inputs, pool, store, run)
        if routing.policy.needs_file:
            routing, through = _settled(job, routing=routing)
        else:
            through = _routed(job)
    broken = _judge(through.summaries, job=job)
    outputs = publish(through.summaries, spec=spec, store=store, run=run)
    manifest = merged(through.summaries, routing=routing)
    if spec.answer_rows:
        manifest["requests"] = write_requests(
            through.summaries, routing=routing, store=store, run=run
        )
    return {
        "outputs": outputs,
        "router": spec.router,
        "policy": spec.policy,
        "broken": broken,
        "quarantine": _quarantine(run) if broken else None,
        "seconds": {
            **through.pace.seconds(since=start, looked=looked),
            "processor": sum(summary.seconds for summary in through.summaries),
        },
        "rows_per_second": through.pace.steady(),
        **manifest,
    }


def _inputs(routing: Routing) -> list[Input]:
    """Every file, looked at before the first row is routed.

    Raises:
        InputError: one has changed, has no rows, lacks the query's column, has one of the added
            columns, or does not fit the others in one output file.
    """
    spec = routing.spec
    inputs = []
    for number, file in enumerate(spec.files):
        source = open_pinned(file)
        schema = check_texts(read_schema(source), spec=spec, file_format=source.format)
        check_columns(schema, routing=routing)
        inputs.append(Input(number, source, schema, _stretches(source, number=number)))
        first = inputs[0].schema
        if is_file(spec.output) and schema.dtypes != first.dtypes:
            raise InputError(
                f"{schema.file}: its columns differ from those of {first.file}, so they do not "
                "fit one output file; name a folder as --output"
            )
    return inputs


def _stretches(source: SourceFile, *, number: int) -> tuple[Stretch, ...]:
    """How a Parquet file is read; nothing for other formats, which are read here, in order."""
    if source.format != "parquet":
        return ()
    found = tuple(stretches(row_groups(source), file=number, rows=BATCH_ROWS))
    if not found:
        raise InputError(f"{source.uri}: no rows in it; fill it or leave it out")
    return found


def _queue(inputs: Sequence[Input], *, spec: RouteSpec, done: Summaries) -> Queue:
    """The shards that are left."""
    found = (shards(stretch, rows=BATCH_ROWS) for one in inputs for stretch in one.stretches)
    return Queue(found, handed=_handed(inputs, spec=spec), done=done.keys())


def _handed(inputs: Sequence[Input], *, spec: RouteSpec) -> Iterator[Task]:
    """The shards of the files that are read here."""
    seen = Seen()
    for one in inputs:
        if one.stretches:
            continue
        batches = read_batches(
            one.source,
            schema=one.schema,
            rows_per_batch=BATCH_ROWS,
            strict_text=strict_columns(spec),
        )
        for batch in batches:
            first = without_repeats(batch, queries=spec.queries, seen=seen)
            yield Task(shard_of(batch, file=one.number), first)


@contextmanager
def _pool(inputs: Sequence[Input], *, routing: Routing, store: Store) -> Iterator[Pool]:
    """Who routes: actors on Ray where there is enough to do."""
    sources = [one.source for one in inputs]
    if sum(source.size for source in sources) <= SMALL_BYTES:
        yield Alone(RouteWorker(routing.spec, sources=sources, store=store, routing=routing))
        return
    connect()
    actors = Actors(routing, sources, store, count=_cores())
    try:
        yield actors
    finally:
        actors.close()


def _cores() -> int:
    """CPUs of the cluster: a worker each."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@dataclass(frozen=True)
class Job:
    """What the passes over a file share."""

    spec: RouteSpec
    inputs: Sequence[Input]
    pool: Pool
    store: Store
    run: Run


@dataclass(frozen=True)
class Through:
    """What became of all shards, in the order of their rows, and how fast."""

    summaries: list[ShardSummary]
    pace: Pace


def _routed(job: Job) -> Through:
    """Score and choose at once."""
    done = job.store.done("parts")
    queue = _queue(job.inputs, spec=job.spec, done=done)
    return _through(queue, step="route", job=job, done=done)


def _settled(job: Job, *, routing: Routing) -> tuple[Routing, Through]:
    """Score every row, let the policy see what is predicted of the file, then choose."""
    done = job.store.done("scored")
    queue = _queue(job.inputs, spec=job.spec, done=done)
    scored = _through(queue, step="score", job=job, done=done).summaries
    _judge(scored, job=job)
    keys = [summary.key for summary in scored]
    routing = routing.settled(routing.policy.settle(lambda: job.store.scored(keys)))
    job.pool.use(routing.policy)
    left = (Task(_shard(summary), scored=summary) for summary in scored)
    done = job.store.done("parts")
    queue = Queue(iter(()), handed=left, done=done)
    return routing, _through(queue, step="choose", job=job, done=done)


def _shard(summary: ShardSummary) -> Shard:
    file, first_row = summary.key.split("-")
    return Shard(int(file), int(first_row), summary.rows + summary.broken)


def _through(queue: Queue, *, step: Step, job: Job, done: Summaries) -> Through:
    """Work through the shards that are left, and tell how it gets on.

    Raises:
        InputError: so much is broken that the rest need not be looked at.
    """
    found = dict(done)
    pace = Pace(_rows(job.inputs), before=sum(one.rows + one.broken for one in done.values()))
    broken = sum(one.broken for one in done.values())
    for summary in job.pool.work(queue, step=step):
        found[summary.key] = summary
        pace.add(summary.rows + summary.broken)
        broken += summary.broken
        if is_hopeless(broken, rows=pace.rows) and broken > job.spec.max_error_share * pace.rows:
            _judge(_in_order(found), job=job)
        job.run.progress(Part(NAMES[step], done=pace.rows, total=pace.total, note=pace.note()))
    return Through(_in_order(found), pace)


NAMES: dict[Step, str] = {"route": "rows", "score": "rows scored", "choose": "rows chosen"}


def _rows(inputs: Sequence[Input]) -> int:
    """Rows of all files; 0 where a file has to be read to know."""
    known = [sum(stretch.rows for stretch in one.stretches) for one in inputs]
    return sum(known) if all(known) else 0


def _in_order(summaries: Summaries) -> list[ShardSummary]:
    return [summaries[key] for key in sorted(summaries)]


def _quarantine(run: Run) -> str:
    return run.uri("quarantine.jsonl")


def _judge(summaries: Sequence[ShardSummary], *, job: Job) -> int:
    """Broken rows, kept in one file in the order of the input.

    Raises:
        InputError: they are more than the error budget allows.
    """
    share = job.spec.max_error_share
    with Quarantine(_quarantine(job.run), max_error_share=share) as quarantine:
        for summary in summaries:
            broken = job.store.read_broken(summary.key) if summary.broken else None
            quarantine.count(summary.rows + summary.broken, broken=broken)
        quarantine.finish()
    return quarantine.broken


if __name__ == "__main__":
    main(RouteSpec, work=route)

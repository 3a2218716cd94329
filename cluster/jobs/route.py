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

from cluster.answers.folder import FOLDER, AnswerFolder
from cluster.answers.requests import candidate_ids, prompt_ratios, write_requests
from cluster.errors import InputError
from cluster.files.parquet import row_groups
from cluster.files.quarantine import Quarantine, is_hopeless
from cluster.files.queries import without_repeats
from cluster.files.reader import read_batches, read_schema
from cluster.files.repeated import Seen
from cluster.files.schema import FileSchema
from cluster.files.source import SourceFile
from cluster.jobs.ingest import open_pinned
from cluster.jobs.route_pool import Actors, Alone, Pool, Step
from cluster.jobs.route_queue import Queue
from cluster.jobs.route_worker import RouteWorker, Task
from cluster.jobs.run import SCRATCH, Manifest, Part, Run, main
from cluster.ray_cluster import connect
from cluster.routing.candidate_files import publish_batches, refuse_batches_that_are_there
from cluster.routing.columns import check_columns
from cluster.routing.kernel import Routing, load_routing
from cluster.routing.output import check_name, is_file, refuse_output_that_is_there
from cluster.routing.publish import publish
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
    """Route every row; returns shares, predicted quality and cost.

    Raises:
        InputError: the output's name is none, a file or column is missing, too many rows are
            broken, a candidate has no price though the policy needs one, the router reads answers,
            or the checkpoint is damaged; then there is no output.
    """
    check_name(spec.output)
    refuse_output_that_is_there(spec, run=run)
    refuse_batches_that_are_there(spec, run=run)
    routing = load_routing(spec)
    inputs = _inputs(routing)
    store = Store(run.uri(SCRATCH))
    with _pool(inputs, routing=routing, store=store) as pool:
        if routing.policy.needs_file:
            routing, summaries = _settled(inputs, routing=routing, store=store, pool=pool, run=run)
        else:
            done = store.done("parts")
            queue = _queue(inputs, spec=spec, done=done)
            work = Work(spec, "route", pool, store, total=_rows(inputs), run=run)
            summaries = _through(queue, work=work, done=done)
    broken = _judge(summaries, spec=spec, store=store, run=run)
    outputs = publish(summaries, spec=spec, store=store, run=run)
    manifest = merged(summaries, routing=routing)
    if spec.answer_rows:
        manifest["to_answer"] = _to_answer(summaries, routing=routing, store=store, run=run)
    if spec.served:
        batches = publish_batches(summaries, spec=spec, store=store, run=run)
        outputs += [uri for uris in batches.values() for uri in uris]
        manifest["batches"] = batches
    return {
        "outputs": outputs,
        "router": spec.router,
        "policy": spec.policy,
        "broken": broken,
        "quarantine": _quarantine(run) if broken else None,
        **manifest,
    }


def _to_answer(
    summaries: Sequence[ShardSummary], *, routing: Routing, store: Store, run: Run
) -> Manifest:
    """Keep what is to be answered; says where it is, and what it is expected to come to."""
    folder = AnswerFolder(run.uri(FOLDER))
    expected = write_requests(summaries, routing=routing, store=store, folder=folder)
    return {
        "folder": folder.uri,
        "candidates": routing.candidates,
        "candidate_ids": candidate_ids(routing),
        "ratios": prompt_ratios(routing),
        "json_columns": sorted({name for one in summaries for name in one.json_columns}),
        "expected": [{"candidate": name, **one.told()} for name, one in expected.items()],
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


def _settled(
    inputs: Sequence[Input], *, routing: Routing, store: Store, pool: Pool, run: Run
) -> tuple[Routing, list[ShardSummary]]:
    """Score every row, let the policy see what is predicted of the file, then choose."""
    spec, done = routing.spec, store.done("scored")
    work = Work(spec, "score", pool, store, total=_rows(inputs), run=run)
    scored = _through(_queue(inputs, spec=spec, done=done), work=work, done=done)
    keys = [summary.key for summary in scored]
    routing = routing.settled(routing.policy.settle(lambda: store.scored(keys)))
    pool.use(routing.policy)
    left = (Task(_shard(summary), scored=summary) for summary in scored)
    done = store.done("parts")
    work = Work(spec, "choose", pool, store, total=sum(s.rows + s.broken for s in scored), run=run)
    return routing, _through(Queue(iter(()), handed=left, done=done), work=work, done=done)


def _shard(summary: ShardSummary) -> Shard:
    file, first_row = summary.key.split("-")
    return Shard(int(file), int(first_row), summary.rows + summary.broken)


@dataclass(frozen=True)
class Work:
    """One pass over the shards, and who wants to hear of it; `total` rows, 0 for not known."""

    spec: RouteSpec
    step: Step
    pool: Pool
    store: Store
    total: int
    run: Run


def _through(queue: Queue, *, work: Work, done: Summaries) -> list[ShardSummary]:
    """Work through the shards that are left; what became of all, in the order of their rows.

    Tells how many rows a second are routed, and how long it is yet.

    Raises:
        InputError: so much is broken that the rest need not be looked at.
    """
    found = dict(done)
    before = rows = sum(one.rows + one.broken for one in done.values())
    broken = sum(one.broken for one in done.values())
    start = time.monotonic()
    for summary in work.pool.work(queue, step=work.step):
        found[summary.key] = summary
        rows += summary.rows + summary.broken
        broken += summary.broken
        if is_hopeless(broken, rows=rows) and broken > work.spec.max_error_share * rows:
            _judge(_in_order(found), spec=work.spec, store=work.store, run=work.run)
        note = _pace(rows - before, left=work.total - rows, seconds=time.monotonic() - start)
        work.run.progress(Part(NAMES[work.step], done=rows, total=work.total, note=note))
    return _in_order(found)


NAMES: dict[Step, str] = {"route": "rows", "score": "rows scored", "choose": "rows chosen"}


def _rows(inputs: Sequence[Input]) -> int:
    """Rows of all files; 0 where a file has to be read to know."""
    known = [sum(stretch.rows for stretch in one.stretches) for one in inputs]
    return sum(known) if all(known) else 0


def _pace(rows: int, *, left: int, seconds: float) -> str:
    """`81,204 rows/s, 12 s left`."""
    rate = rows / max(seconds, 1e-9)
    told = f"{rate:,.0f} rows/s"
    return f"{told}, {left / rate:,.0f} s left" if left > 0 and rate else told


def _in_order(summaries: Summaries) -> list[ShardSummary]:
    return [summaries[key] for key in sorted(summaries)]


def _quarantine(run: Run) -> str:
    return run.uri("quarantine.jsonl")


def _judge(summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store, run: Run) -> int:
    """Broken rows, kept in one file in the order of the input.

    Raises:
        InputError: they are more than the error budget allows.
    """
    with Quarantine(_quarantine(run), max_error_share=spec.max_error_share) as quarantine:
        for summary in summaries:
            broken = store.read_broken(summary.key) if summary.broken else None
            quarantine.count(summary.rows + summary.broken, broken=broken)
        quarantine.finish()
    return quarantine.broken


if __name__ == "__main__":
    main(RouteSpec, work=route)

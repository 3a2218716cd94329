"""The route job: a query file becomes a routed file, shard by shard, resumable.

Workers pull shards; the routed rows of each are one Parquet part in the run's scratch folder,
written once and whole. A run that was killed goes on after the parts that are there. A policy that
must see the whole file comes after a first pass that keeps what is predicted.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cluster.answers.requests import to_answer
from cluster.files.quarantine import Quarantine, is_hopeless
from cluster.files.source import SeenFile
from cluster.jobs.claim import refuse_lost_claim
from cluster.jobs.pace import Pace
from cluster.jobs.route_input import Input, ShardSize, look_at, queue_of, rows_of
from cluster.jobs.route_pool import Actors, Alone, Pool, Step, places
from cluster.jobs.route_queue import Queue
from cluster.jobs.route_worker import RouteWorker, Task
from cluster.jobs.run import SCRATCH, Manifest, Part, Run, main
from cluster.ray_cluster import connect
from cluster.routing.candidate_files import publish_batches, refuse_batches_that_are_there
from cluster.routing.kernel import Routing, load_routing
from cluster.routing.observed import file_refusal
from cluster.routing.output import check_name, refuse_output_that_is_there
from cluster.routing.publish import publish
from cluster.routing.shard import Shard
from cluster.routing.spec import RouteSpec
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary, merged
from cluster.routing.told import fed_back, keep_page, told

LOG = logging.getLogger("signalbox.route")
BATCH_ROWS = 50_000
# A pretrained model takes as long for these as words and tables for ten times as many: a rerun goes
# on from the last of them, and progress is seen.
MODEL_BATCH_ROWS = 5_000
# Rows are fewer where they are long: a worker holds a shard's rows, its terms and its output.
BATCH_BYTES = 32 << 20
# Less than this takes one process less time than it takes Ray to start others.
SMALL_BYTES = 32 << 20
SMALL_MODEL_BYTES = 1 << 20
# Text is read by this process alone, at some 180,000 rows/s: more workers would wait for it, and
# each holds two shards in Ray's object store meanwhile.
FED_WORKERS = 8

Summaries = dict[str, ShardSummary]


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
    refuse_batches_that_are_there(spec, run=run)
    routing = load_routing(spec)
    _tell_unpriced(routing)
    size = _shard_size(routing)
    inputs = look_at(routing, size=size)
    looked = time.monotonic() - start
    # Shards of another size are other shards: none of them may be taken for one of these.
    store = Store(run.uri(SCRATCH, f"{size.rows}-{size.bytes}"))
    with _pool(inputs, routing=routing, store=store) as pool:
        job = Job(spec, inputs, size, pool, store, run)
        if routing.policy.needs_file:
            routing, through = _settled(job, routing=routing)
        else:
            through = _routed(job)
    broken = _judge(through.summaries, job=job)
    outputs = publish(through.summaries, spec=spec, store=store, run=run)
    manifest = merged(through.summaries, routing=routing)
    manifest |= told(through.summaries, routing=routing, store=store)
    manifest["feedback"] = fed_back(through.summaries, routing=routing, store=store)
    kept = to_answer(through.summaries, routing=routing, store=store, run=run)
    batches = publish_batches(through.summaries, spec=spec, store=store, run=run)
    manifest |= {
        "outputs": outputs + [uri for uris in batches.values() for uri in uris],
        "router": spec.router,
        "policy": spec.policy,
        "broken": broken,
        "quarantine": _quarantine(run) if broken else None,
        "seconds": {
            **through.pace.seconds(since=start, looked=looked),
            "processor": sum(summary.seconds for summary in through.summaries),
        },
        "rows_per_second": through.pace.steady(),
        "to_answer": kept,
        "batches": batches,
    }
    refuse_lost_claim(spec.output, work=run.work_id, lake=run.storage)
    return manifest | {"report": keep_page(manifest, run=run)}


def _shard_size(routing: Routing) -> ShardSize:
    """Of the router alone, so that a rerun cuts the same shards."""
    return ShardSize(MODEL_BATCH_ROWS if routing.runs_model else BATCH_ROWS, BATCH_BYTES)


def _tell_unpriced(routing: Routing) -> None:
    without = [name for name in routing.candidates if name not in routing.spec.prices]
    if without and routing.spec.prices:
        LOG.warning("no price for %s: costs are not predicted", ", ".join(without))


@contextmanager
def _pool(inputs: Sequence[Input], *, routing: Routing, store: Store) -> Iterator[Pool]:
    """Who routes: actors on Ray where there is enough to do."""
    files = [SeenFile(one.source, one.stamp) for one in inputs]
    small = SMALL_MODEL_BYTES if routing.runs_model else SMALL_BYTES
    if sum(one.bytes for one in inputs) <= small:
        yield Alone(RouteWorker(routing.spec, files=files, store=store, routing=routing))
        return
    connect()
    room = places(runs_model=routing.runs_model)
    if not routing.runs_model and not any(one.stretches for one in inputs):
        room = replace(room, workers=min(room.workers, FED_WORKERS))
    actors = Actors(routing, files, store, room)
    try:
        yield actors
    finally:
        actors.close()


@dataclass(frozen=True)
class Job:
    """What the passes over a file share."""

    spec: RouteSpec
    inputs: Sequence[Input]
    size: ShardSize
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
    queue = queue_of(job.inputs, spec=job.spec, size=job.size, done=done.keys())
    return _through(queue, step="route", job=job, done=done)


def _settled(job: Job, *, routing: Routing) -> tuple[Routing, Through]:
    """Score every row, let the policy see what is predicted of the file, then choose."""
    done = job.store.done("scored")
    queue = queue_of(job.inputs, spec=job.spec, size=job.size, done=done.keys())
    scored = _through(queue, step="score", job=job, done=done).summaries
    _judge(scored, job=job)
    keys = [summary.key for summary in scored]
    policy = routing.policy.heeding(file_refusal(scored, routing=routing))
    routing = routing.settled(policy.settle(lambda: job.store.scored(keys)))
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
    pace = Pace(rows_of(job.inputs), before=sum(one.rows + one.broken for one in done.values()))
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

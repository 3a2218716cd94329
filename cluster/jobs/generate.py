"""The generate job: run candidates on queries, and commit every answer once.

One job runs many candidates. Those that need no GPU share one worker that loads them in turn; on
GPUs every candidate has a pool of its own, and Ray packs the pools onto what is free. A worker
answers a shard of requests at a time and writes it to the lake; the driver alone commits.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from cluster.candidate import Candidate
from cluster.errors import EngineError, SignalboxError
from cluster.jobs.asked import Requests
from cluster.jobs.generate_pool import WorkerPool
from cluster.jobs.generate_worker import ShardReport
from cluster.jobs.pools import run_pools
from cluster.jobs.purse import Purse
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.jobs.spending import Shares, Spending, expected_shares, paid
from cluster.lake.candidates import keep_specs
from cluster.lake.commit import commit_shards, delete_errors
from cluster.lake.lake import Lake
from cluster.lake.lease import lease
from cluster.lake.plan import Plan, plan_candidate, required_samples
from cluster.lake.shard import Shard
from cluster.lake.tables import COMPLETIONS
from cluster.packing import Pool, pools_of
from cluster.ray_cluster import connect

LOG = logging.getLogger("signalbox.generate")


class GenerateSpec(JobSpec):
    """What to generate.

    Attributes:
        candidates: whose answers.
        dataset: the queries of this dataset; empty with `requests`.
        referenced: of these, only queries that have a reference.
        requests: URI of a Parquet file, or a folder of them, that says who answers what (see
            `Requests`); empty: every candidate answers every query of the dataset.
        inputs: versions of the tables the work depends on; what is committed already is one of
            them, so that a changed table is always looked at again.
        shard_rows: requests a worker answers between two writes.
        commit_seconds: time between two commits while a candidate is being run.
        max_error_share: more failed rows than this share of a candidate's fail the job.
        retry_errors: rows that failed in an earlier run are run again.
        max_usd: USD after which no more is asked; None for no cap.
        paid_before: USD that the candidates' answers had cost when the work began, for a cap that
            holds over its attempts; None: every attempt has the whole of it.
    """

    job: ClassVar[str] = "generate"

    candidates: tuple[Candidate, ...]
    dataset: str = ""
    referenced: bool = False
    requests: str = ""
    inputs: dict[str, int]
    shard_rows: int
    commit_seconds: float = 120.0
    max_error_share: float
    retry_errors: bool = False
    max_usd: float | None = None
    paid_before: float | None = None


@dataclass
class Tally:
    """What became of one candidate's work.

    `seconds` is the sum over shards of the time a worker spent on them, `answer_seconds` the wall
    time from the loaded engine to the last shard, `load_seconds` that of loading; costs are None
    where no price is known. `stopped` says that the rest was more than the cap allows.
    """

    name: str
    required: int = 0
    done: int = 0
    adopted: int = 0
    generated: int = 0
    errors: int = 0
    truncated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    answer_seconds: float = 0.0
    cost_usd: float | None = None
    gpu_seconds: float = 0.0
    gpu_cost_usd: float | None = None
    failure: str = ""
    stopped: bool = False

    def add(self, report: ShardReport) -> None:
        self.done += report.rows
        self.generated += report.rows - report.errors
        self.errors += report.errors
        self.truncated += report.truncated
        self.prompt_tokens += report.prompt_tokens
        self.completion_tokens += report.completion_tokens
        self.seconds += report.seconds
        self.gpu_seconds += report.gpu_seconds
        self.cost_usd = _sum(self.cost_usd, report.cost_usd)
        self.gpu_cost_usd = _sum(self.gpu_cost_usd, report.gpu_cost_usd)

    def part(self) -> Part:
        rate = f"{self.completion_tokens / self.seconds:,.0f} tokens/s" if self.seconds else ""
        failed = f", {self.errors} errors" if self.errors else ""
        return Part(name=self.name, done=self.done, total=self.required, note=rate + failed)


def _sum(one: float | None, other: float | None) -> float | None:
    """The sum of what is known, None where nothing is."""
    return other if one is None else one + (other or 0.0)


@dataclass
class Work:
    """The state one candidate's work shares with the functions that do it."""

    spec: GenerateSpec
    run: Run
    lake: Lake
    candidate: Candidate
    requests: Requests
    tally: Tally
    spending: Spending
    staged: list[Shard] = field(default_factory=list)
    committed_at: float = field(default_factory=time.monotonic)


def generate(spec: GenerateSpec, run: Run) -> Manifest:
    """Answer what is missing; returns counts per candidate.

    Raises:
        EngineError: a candidate failed as a whole or in too many rows; what succeeded is kept.
    """
    connect()
    lake = Lake.open(spec.lake)
    _keep_candidates(spec.candidates, lake=lake)
    requests = _requests(spec, lake=lake)
    purse = Purse(spec.max_usd, spent=_paid_already(spec, lake=lake))
    shares = _shares(spec, requests=requests, lake=lake, cap=purse.left)

    def work(pool: Pool) -> list[Tally]:
        return _run_pool(
            pool, spec=spec, run=run, lake=lake, requests=requests, purse=purse, shares=shares
        )

    done = run_pools(pools_of(spec.candidates), work=work)
    by_name = {tally.name: tally for tallies in done for tally in tallies}
    tallies = [by_name[candidate.name] for candidate in spec.candidates]
    _raise_failures(tallies, spec=spec)
    return {
        "outputs": [],
        "candidates": [vars(tally) for tally in tallies],
        "spent_usd": purse.spent if spec.max_usd is not None else None,
        "stopped": any(tally.stopped for tally in tallies),
    }


def _keep_candidates(candidates: Sequence[Candidate], *, lake: Lake) -> None:
    rows = [(c.candidate_id, c.name, c.model_dump_json()) for c in candidates]
    specs = pl.DataFrame(rows, schema=["candidate_id", "name", "spec"], orient="row")
    keep_specs(specs, lake=lake)


def _requests(spec: GenerateSpec, *, lake: Lake) -> Requests:
    if spec.requests:
        return Requests.at(spec.requests, lake=lake)
    return Requests.of_dataset(
        spec.dataset,
        lake=lake,
        version=spec.inputs["queries"],
        referenced=spec.referenced,
    )


def _paid_already(spec: GenerateSpec, *, lake: Lake) -> float:
    """USD that earlier attempts at this work have spent."""
    if spec.max_usd is None or spec.paid_before is None:
        return 0.0
    return max(0.0, paid(spec.candidates, lake=lake) - spec.paid_before)


def _shares(spec: GenerateSpec, *, requests: Requests, lake: Lake, cap: float) -> Shares:
    """What of a cap is whose: without one, all is everybody's."""
    if spec.max_usd is None:
        return Shares({}, cap=cap)
    if requests.names_who:
        return Shares(requests.expected() or {}, cap=cap)
    queries = requests.whole()
    return expected_shares(queries, candidates=spec.candidates, lake=lake, cap=max(0.0, cap))


def _run_pool(
    pool: Pool,
    *,
    spec: GenerateSpec,
    run: Run,
    lake: Lake,
    requests: Requests,
    purse: Purse,
    shares: Shares,
) -> list[Tally]:
    workers = WorkerPool(lake=lake)
    tallies = []
    for candidate in pool.candidates:
        tally, spending = Tally(candidate.name), Spending(candidate, purse, shares=shares)
        work = Work(spec, run, lake, candidate, requests, tally, spending)
        try:
            _run_candidate(work, workers=workers)
        except SignalboxError as error:  # the other candidates' work is still worth doing
            LOG.error("%s: %s", candidate.name, error)
            work.tally.failure = str(error)
        finally:
            spending.release()
        run.progress(work.tally.part(), now=True)
        tallies.append(work.tally)
    workers.close()
    return tallies


def _run_candidate(work: Work, *, workers: WorkerPool) -> None:
    def waiting(holder: str) -> None:
        # The holder may be waiting for the cores our idle workers keep.
        workers.close()
        part = Part(work.candidate.name, done=0, total=0, note=f"waiting for {holder}")
        work.run.progress(part)

    candidate_id = work.candidate.candidate_id
    with lease(candidate_id, lake=work.lake, waiting=waiting) as still_ours:
        work.tally.required = work.requests.count(candidate_id) * work.candidate.samples
        start = time.monotonic()
        try:
            for report in workers.answer(work.candidate, _shards(work)):
                _take(report, work=work)
                if time.monotonic() - work.committed_at > work.spec.commit_seconds:
                    still_ours()
                    _commit(work)
        finally:
            work.tally.load_seconds = workers.load_seconds
            work.tally.answer_seconds = time.monotonic() - start - workers.load_seconds
            still_ours()
            _commit(work)


def _shards(work: Work) -> Iterator[pl.DataFrame | None]:
    """Requests of one shard after another: `query_id`, `text`, `messages`, `samples` (a list).

    None where what runs has to be paid before more can be asked.
    """
    for number, requests in enumerate(work.requests.of(work.candidate.candidate_id)):
        plan = _plan(requests, work=work, first=number == 0)
        yield from _missing(plan, requests=requests, work=work)
        if work.tally.stopped or _hopeless(work):
            return


def _plan(requests: pl.DataFrame, *, work: Work, first: bool) -> Plan:
    """What is missing of a part; what a killed run left is adopted before the `first` alone, for
    later on what is staged is this run's own."""
    candidate_id, tally = work.candidate.candidate_id, work.tally
    required = required_samples(requests["query_id"], samples=work.candidate.samples)
    if work.spec.retry_errors:
        delete_errors(required, lake=work.lake, candidate_id=candidate_id)
    plan = plan_candidate(required, lake=work.lake, candidate_id=candidate_id, adopt=first)
    tally.adopted += plan.adopted
    tally.errors += plan.errors
    tally.done += plan.required - plan.missing.height
    work.run.progress(tally.part(), now=True)
    LOG.info(
        "%s: %d of %d rows missing, %d adopted from an earlier run",
        work.candidate.name,
        plan.missing.height,
        plan.required,
        plan.adopted,
    )
    return plan


def _missing(plan: Plan, *, requests: pl.DataFrame, work: Work) -> Iterator[pl.DataFrame | None]:
    """The missing requests of a part, as `_shards` says."""
    missing = plan.missing.group_by("query_id", maintain_order=True).agg(
        pl.col("sample").sort().alias("samples")
    )
    texts = requests.select("query_id", "text", "messages").unique("query_id")
    rows = missing.join(texts, on="query_id", maintain_order="left")
    per_shard = max(1, work.spec.shard_rows // work.candidate.samples)
    start = 0
    while start < rows.height:
        # What runs already is waited for: answers that are paid for are kept.
        if _hopeless(work):
            return
        shard = rows.slice(start, per_shard)
        affordable = work.spending.affordable(shard)
        if affordable:
            start += affordable
            yield shard.head(affordable)
        elif work.spending.rows_running:
            yield None
        else:
            work.tally.stopped = True
            return


def _take(report: ShardReport, *, work: Work) -> None:
    work.tally.add(report)
    work.spending.settle(report)
    work.staged.extend(report.shards)
    work.run.progress(work.tally.part())


def _commit(work: Work) -> None:
    commit_shards(work.staged, lake=work.lake, table=COMPLETIONS)
    work.staged.clear()
    work.committed_at = time.monotonic()


def _hopeless(work: Work) -> bool:
    """True once the errors exceed the budget whatever the rest brings."""
    return work.tally.errors > work.spec.max_error_share * work.tally.required


def _raise_failures(tallies: Sequence[Tally], *, spec: GenerateSpec) -> None:
    failures = [f"candidate '{tally.name}': {tally.failure}" for tally in tallies if tally.failure]
    failures += [
        f"candidate '{tally.name}': {tally.errors} of {tally.required} rows failed, more than "
        f"max_error_share {spec.max_error_share:g}; see column 'error' of table completions, "
        "then run again with --retry-errors, or raise --max-error-share"
        for tally in tallies
        if not tally.failure and tally.errors > spec.max_error_share * tally.required
    ]
    if failures:
        raise EngineError("; ".join(failures) + ". What succeeded is kept")


if __name__ == "__main__":
    main(GenerateSpec, work=generate)

"""What a candidate's answers may cost and have cost, against the cap of the run."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.jobs.generate_worker import ShardReport
from cluster.jobs.purse import Purse
from cluster.lake.estimate import estimate, text_bytes
from cluster.lake.lake import Lake
from cluster.lake.shard import staged_shards
from cluster.lake.tables import COMPLETIONS
from cluster.price import TOKENS_PER_UNIT

# Marks of a chat template around the messages, in tokens.
CHAT_TOKENS = 64
# GPU time differs from shard to shard; so much of what the rows before took is set aside.
GPU_MARGIN = 1.5


def check_spendable(candidates: tuple[Candidate, ...] | list[Candidate]) -> None:
    """Make sure every candidate's answers can be priced, as a cap means nothing otherwise.

    Raises:
        InputError: a candidate has neither a price nor an hourly one.
    """
    without = [one.name for one in candidates if one.price is None and not by_the_hour(one)]
    if without:
        raise InputError(
            f"--max-usd: no price for {', '.join(without)}; add 'price: {{input: …, output: …}}' "
            "(USD per million tokens, 0 for none) or 'resources: {usd_per_gpu_hour: …}' to each "
            "entry"
        )


def by_the_hour(candidate: Candidate) -> bool:
    """Whether the candidate is paid by the time of its GPUs rather than by its tokens."""
    resources = candidate.resources
    return bool(resources.gpus) and resources.usd_per_gpu_hour is not None


def paid(candidates: Sequence[Candidate], *, lake: Lake) -> float:
    """USD that all answers of the candidates have cost so far, those of a killed run included that
    nobody has adopted yet."""
    return sum(_paid_by(candidate, lake=lake) for candidate in candidates)


def _paid_by(candidate: Candidate, *, lake: Lake) -> float:
    key = ["query_id", "sample"]
    column = "gpu_cost_usd" if by_the_hour(candidate) else "cost_usd"
    own = lake.scan(COMPLETIONS).filter(pl.col("candidate_id") == candidate.candidate_id)
    staged = [
        pl.read_parquet(
            f"{lake.table_uri(COMPLETIONS)}/{shard.path}",
            columns=[*key, column],
            hive_partitioning=False,
            storage_options=lake.storage.polars_options(),
        )
        for shard in staged_shards(lake, table=COMPLETIONS, partition=candidate.candidate_id)
    ]
    total = float(own.select(pl.col(column).sum()).collect().item())
    if not staged:
        return total
    # Files that a compaction has replaced look staged too; their rows are committed.
    waiting = pl.concat(staged).unique(key).lazy().join(own, on=key, how="anti")
    return total + float(waiting.select(pl.col(column).sum()).collect().item())


class Shares:
    """How a cap is divided: to each candidate in proportion to what its answers are expected to
    cost, settled before anybody spends, and what one leaves over to those that are not done.

    So a cap that does not reach cuts everybody at about the same query, and what was paid for is
    whole rows of the outcome matrix rather than one candidate's column.
    """

    def __init__(self, expected: Mapping[str, float], *, cap: float) -> None:
        """By candidate's id, USD; empty, or nothing expected: whoever comes first takes it."""
        total = sum(expected.values())
        self.weights = dict(expected) if total > 0 else {}
        self.allowed = {key: cap * weight / total for key, weight in self.weights.items()}
        self.cap = cap
        self.lock = threading.Lock()

    def of(self, candidate_id: str) -> float:
        """USD that are the candidate's by now."""
        with self.lock:
            return self.allowed.get(candidate_id, self.cap)

    def done(self, candidate_id: str, *, spent: float) -> None:
        """What the candidate has not spent is for the others, as they were expected to cost."""
        with self.lock:
            over = max(0.0, self.allowed.get(candidate_id, 0.0) - spent)
            self.weights.pop(candidate_id, None)
            total = sum(self.weights.values())
            for key, weight in self.weights.items():
                self.allowed[key] += over * weight / total if total > 0 else 0.0


def expected_shares(
    queries: pl.DataFrame, *, candidates: Sequence[Candidate], lake: Lake, cap: float
) -> Shares:
    """Parts by what the missing answers are expected to cost; none where that is not known."""
    sized = text_bytes(queries.lazy()).collect()
    found = estimate(sized, candidates=candidates, lake=lake)
    costs = [
        one.gpu_cost_usd if by_the_hour(candidate) else one.cost_usd
        for candidate, one in zip(candidates, found, strict=True)
    ]
    if any(cost is None for cost in costs):
        return Shares({}, cap=cap)
    ids = [candidate.candidate_id for candidate in candidates]
    return Shares({key: cost or 0.0 for key, cost in zip(ids, costs, strict=True)}, cap=cap)


@dataclass
class Spending:
    """One candidate's part in the run's purse.

    Attributes:
        candidate: who answers.
        purse: of the run.
        shares: what of it is whose.
        set_aside: USD for rows that run at the moment.
        rows_running: how many these are.
        rows_done: rows that have been paid.
        spent: USD for these.
    """

    candidate: Candidate
    purse: Purse
    shares: Shares
    set_aside: float = 0.0
    rows_running: int = 0
    rows_done: int = 0
    spent: float = 0.0

    def affordable(self, requests: pl.DataFrame) -> int:
        """How many of the first requests (`text`, `messages`, `samples`) can be paid.

        Waits for the other candidates to settle, while nothing of this one's is running.
        """
        if self.purse.cap is None:
            return requests.height
        costs = self._within(self._most(requests))
        n = self.purse.take(costs, patient=not self.rows_running)
        self.set_aside += sum(costs[:n])
        self.rows_running += int(requests["samples"].list.len().head(n).sum())
        return n

    def _within(self, costs: list[float]) -> list[float]:
        """The first of the costs that its own part can bear."""
        left = self.shares.of(self.candidate.candidate_id) - self.spent - self.set_aside
        return [cost for cost, total in zip(costs, accumulate(costs), strict=True) if total <= left]

    def settle(self, report: ShardReport) -> None:
        """Note what a shard has cost; answers whose tokens nobody told, all they might have."""
        share = min(1.0, report.rows / self.rows_running) if self.rows_running else 0.0
        freed = self.set_aside * share
        spent = report.gpu_cost_usd
        if not by_the_hour(self.candidate):
            untold = freed * report.unpriced / report.rows if report.unpriced else 0.0
            spent = (report.cost_usd or 0.0) + untold
        self.set_aside -= freed
        self.rows_running -= min(report.rows, self.rows_running)
        self.rows_done += report.rows
        self.spent += spent or 0.0
        self.purse.settle(set_aside=freed, spent=spent or 0.0)

    def release(self) -> None:
        """Put back what is set aside for rows that nobody runs any more."""
        self.purse.settle(set_aside=self.set_aside, spent=0.0)
        self.set_aside, self.rows_running = 0.0, 0
        self.shares.done(self.candidate.candidate_id, spent=self.spent)

    def _most(self, requests: pl.DataFrame) -> list[float]:
        """(n_requests,) USD each may come to: its bytes as tokens, and the longest answers."""
        samples = requests["samples"].list.len()
        if by_the_hour(self.candidate):
            row = GPU_MARGIN * self.spent / self.rows_done if self.rows_done else 0.0
            return (samples * row).to_list()
        price, sampling = self.candidate.price, self.candidate.sampling
        assert price is not None
        prompt = (
            requests["text"].str.len_bytes()
            + requests["messages"].str.len_bytes().fill_null(0)
            + (self.candidate.frame_bytes + CHAT_TOKENS)
        )
        longest = sampling.max_tokens
        if self.candidate.extend:  # an endpoint is asked anew, with more tokens
            prompt, longest = 2 * prompt, 2 * longest + self.candidate.extend
        each = (prompt * price.input + longest * price.output) / TOKENS_PER_UNIT
        return (each * samples).to_list()

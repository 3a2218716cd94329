"""What a candidate's answers may cost and have cost, against the cap of the run."""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.jobs.generate_worker import ShardReport
from cluster.jobs.purse import Purse
from cluster.lake.estimate import estimate
from cluster.lake.lake import Lake
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


class Shares:
    """How a cap is divided: each candidate gets of what is left its part of what is expected of
    those that are not done yet.

    So a cap that does not reach cuts everybody at about the same query, and what was paid for is
    whole rows of the outcome matrix rather than one candidate's column.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        """By candidate's id, USD; empty: whoever comes first takes what it needs."""
        self.expected = dict(expected)
        self.lock = threading.Lock()

    def of(self, candidate_id: str) -> float:
        """The candidate's part of what is left, 0 to 1; asked once, when it begins."""
        with self.lock:
            total = sum(self.expected.values())
            own = self.expected.get(candidate_id)
            return 1.0 if own is None or total <= 0 else own / total

    def done(self, candidate_id: str) -> None:
        """What the candidate has left over is for the others."""
        with self.lock:
            self.expected.pop(candidate_id, None)


def expected_shares(
    queries: pl.DataFrame, *, candidates: Sequence[Candidate], lake: Lake
) -> Shares:
    """Parts by what the missing answers are expected to cost; none where that is not known."""
    found = estimate(queries, candidates=candidates, lake=lake)
    costs = [
        one.gpu_cost_usd if by_the_hour(candidate) else one.cost_usd
        for candidate, one in zip(candidates, found, strict=True)
    ]
    if any(cost is None for cost in costs):
        return Shares({})
    ids = [candidate.candidate_id for candidate in candidates]
    return Shares({key: cost or 0.0 for key, cost in zip(ids, costs, strict=True)})


@dataclass
class Spending:
    """One candidate's part in the run's purse.

    Attributes:
        candidate: who answers.
        purse: of the run.
        shares: what of it is whose.
        allowed: USD that are this one's, known once it begins.
        set_aside: USD for rows that run at the moment.
        rows_running: how many these are.
        rows_done: rows that have been paid.
        spent: USD for these.
    """

    candidate: Candidate
    purse: Purse
    shares: Shares
    allowed: float = float("nan")
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
        if math.isnan(self.allowed):
            self.allowed = self.purse.left * self.shares.of(self.candidate.candidate_id)
        costs = self._within(self._most(requests))
        n = self.purse.take(costs, patient=not self.rows_running)
        self.set_aside += sum(costs[:n])
        self.rows_running += int(requests["samples"].list.len().head(n).sum())
        return n

    def _within(self, costs: list[float]) -> list[float]:
        """The first of the costs that its own part can bear."""
        left = self.allowed - self.spent - self.set_aside
        return [cost for cost, total in zip(costs, accumulate(costs), strict=True) if total <= left]

    def settle(self, report: ShardReport) -> None:
        """Note what a shard has cost."""
        spent = report.gpu_cost_usd if by_the_hour(self.candidate) else report.cost_usd
        share = min(1.0, report.rows / self.rows_running) if self.rows_running else 0.0
        freed = self.set_aside * share
        self.set_aside -= freed
        self.rows_running -= min(report.rows, self.rows_running)
        self.rows_done += report.rows
        self.spent += spent or 0.0
        self.purse.settle(set_aside=freed, spent=spent or 0.0)

    def release(self) -> None:
        """Put back what is set aside for rows that nobody runs any more."""
        self.purse.settle(set_aside=self.set_aside, spent=0.0)
        self.set_aside, self.rows_running = 0.0, 0
        self.shares.done(self.candidate.candidate_id)

    def _most(self, requests: pl.DataFrame) -> list[float]:
        """(n_requests,) USD each may come to: its bytes as tokens, and the longest answers."""
        samples = requests["samples"].list.len()
        if by_the_hour(self.candidate):
            row = GPU_MARGIN * self.spent / self.rows_done if self.rows_done else 0.0
            return (samples * row).to_list()
        price, sampling = self.candidate.price, self.candidate.sampling
        assert price is not None
        template = len(self.candidate.template.encode())
        prompt = (
            requests["text"].str.len_bytes()
            + requests["messages"].str.len_bytes().fill_null(0)
            + (template + CHAT_TOKENS)
        )
        longest = sampling.max_tokens
        if self.candidate.extend:  # an endpoint is asked anew, with more tokens
            prompt, longest = 2 * prompt, 2 * longest + self.candidate.extend
        each = (prompt * price.input + longest * price.output) / TOKENS_PER_UNIT
        return (each * samples).to_list()

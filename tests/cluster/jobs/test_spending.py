"""What a candidate may ask for under a cap, and what it is charged."""

import polars as pl
import pytest

from cluster.candidate import Candidate
from cluster.completion import completions
from cluster.errors import InputError
from cluster.jobs.generate_worker import ShardReport, priced
from cluster.jobs.purse import Purse
from cluster.jobs.spending import Shares, Spending, check_spendable, paid
from cluster.lake.commit import commit_shards
from cluster.lake.lake import Lake
from cluster.lake.shard import write_shard
from cluster.lake.tables import COMPLETIONS

REQUESTS = pl.DataFrame(
    {"text": ["what is it?"] * 10, "messages": [None] * 10, "samples": [[0, 1]] * 10},
    schema_overrides={"messages": pl.String},
)


def candidate(name: str = "one", **fields) -> Candidate:
    given = {"name": name, "engine": "echo", "model": name}
    return Candidate(**given | {"price": {"input": 1.0, "output": 10.0}} | fields)


def report(rows: int, cost: float | None, *, gpu_cost: float | None = None) -> ShardReport:
    return ShardReport((), rows, 0, 0, 0, 0, 1.0, cost_usd=cost, gpu_cost_usd=gpu_cost)


def test_no_more_is_asked_than_the_longest_answers_would_leave_in_the_purse() -> None:
    one = candidate(sampling={"max_tokens": 100})
    purse = Purse(cap=0.01)
    spending = Spending(one, purse, Shares({}, cap=1.0))
    # A query is at most two answers of 100 tokens, 1e-5 USD each, and two prompts of about 80.
    assert spending.affordable(REQUESTS) == 4
    assert spending.affordable(REQUESTS) == 0
    spending.settle(report(8, 0.001))
    assert purse.spent == 0.001
    assert purse.set_aside == pytest.approx(0.0)
    assert spending.affordable(REQUESTS) == 4


def test_without_a_cap_all_is_asked_and_nothing_is_set_aside() -> None:
    spending = Spending(candidate(price=None), Purse(), Shares({}, cap=1.0))
    assert spending.affordable(REQUESTS) == 10
    spending.settle(report(20, None))
    assert spending.purse.spent == 0.0


def test_each_candidate_has_its_part_before_anybody_spends() -> None:
    small, large = candidate("small"), candidate("large")
    purse = Purse(cap=1.0)
    shares = Shares({small.candidate_id: 1.0, large.candidate_id: 3.0}, cap=1.0)
    first, second = Spending(small, purse, shares), Spending(large, purse, shares)
    assert first.affordable(REQUESTS) == second.affordable(REQUESTS) == 10
    assert shares.of(small.candidate_id) == pytest.approx(0.25)
    assert shares.of(large.candidate_id) == pytest.approx(0.75)
    first.settle(report(20, 0.05))
    first.release()
    assert shares.of(large.candidate_id) == pytest.approx(0.95)


def test_two_that_run_at_once_and_cost_the_same_get_equally_far() -> None:
    pair = [candidate("one"), candidate("other")]
    purse = Purse(cap=0.03)
    shares = Shares({one.candidate_id: 1.0 for one in pair}, cap=0.03)
    both = [Spending(one, purse, shares) for one in pair]
    asked = [0, 0]
    for _ in range(6):
        for place, spending in enumerate(both):
            n = spending.affordable(REQUESTS.head(1))
            asked[place] += n
            if n:
                spending.settle(report(2, 0.004))
    assert asked[0] == asked[1] > 0
    assert purse.spent <= 0.03


def test_answers_whose_tokens_nobody_tells_cost_all_they_might_have() -> None:
    spending = Spending(candidate(), Purse(cap=1.0), Shares({}, cap=1.0))
    assert spending.affordable(REQUESTS) == 10
    most = spending.set_aside
    spending.settle(ShardReport((), 20, 0, 0, 0, 0, 1.0, unpriced=10, cost_usd=0.001))
    assert spending.purse.spent == pytest.approx(0.001 + most / 2)


def test_a_system_message_and_a_schema_are_set_aside_too() -> None:
    def most(**fields) -> float:
        spending = Spending(candidate(**fields), Purse(cap=9.0), Shares({}, cap=9.0))
        spending.affordable(REQUESTS)
        return spending.set_aside

    plain = most(chat=True)
    schema = {"type": "object", "description": "x" * 1000}
    # 1,000 bytes at 1 USD a million tokens, read with each of 20 answers.
    assert most(chat=True, system="x" * 1000) - plain == pytest.approx(0.02)
    assert most(chat=True, sampling={"json_schema": schema}) - plain > 0.02


def test_who_is_paid_by_the_hour_is_charged_the_time_of_its_gpus() -> None:
    one = candidate(resources={"gpus": 1, "usd_per_gpu_hour": 2.0})
    spending = Spending(one, Purse(cap=1.0), Shares({}, cap=1.0))
    assert spending.affordable(REQUESTS) == 10
    spending.settle(report(20, 5.0, gpu_cost=0.8))
    assert spending.purse.spent == pytest.approx(0.8)
    # 0.04 USD a row, half as much again set aside, two rows a query: one fits into what is left.
    assert spending.affordable(REQUESTS) == 1


def test_who_has_no_price_at_all_is_named() -> None:
    by_hour = candidate("hourly", price=None, resources={"gpus": 1, "usd_per_gpu_hour": 2.0})
    check_spendable([candidate(), by_hour])
    free = candidate("free", price=None, resources={"usd_per_gpu_hour": 2.0})
    with pytest.raises(InputError, match=r"no price for free.*usd_per_gpu_hour"):
        check_spendable([candidate(), free])


def answers(**columns) -> pl.DataFrame:
    given = {
        "query_id": ["a", "b"],
        "prompt_tokens": [100, 200],
        "completion_tokens": [10, None],
        "seconds": [36.0, 72.0],
        "outcome": ["ok", "error"],
    }
    return completions(given | columns)


def test_an_answer_costs_its_tokens_and_the_time_of_its_gpus() -> None:
    one = candidate(resources={"gpus": 2, "usd_per_gpu_hour": 5.0})
    found = priced(answers(), candidate=one)
    assert found["cost_usd"].to_list() == pytest.approx([200e-6, 200e-6])
    assert found["gpu_seconds"].to_list() == [72.0, 144.0]
    assert found["gpu_cost_usd"].to_list() == pytest.approx([0.1, 0.2])


def test_what_is_not_priced_is_unknown_and_what_an_endpoint_told_stays() -> None:
    found = priced(answers(cost_usd=[0.5, None]), candidate=candidate(price=None))
    assert found["cost_usd"].to_list() == [0.5, None]
    assert found["gpu_seconds"].to_list() == [0.0, 0.0]
    assert found["gpu_cost_usd"].to_list() == [None, None]


def test_what_was_paid_counts_staged_answers_once(tmp_path) -> None:
    """Those of a killed run, before and after they are adopted; other candidates' never."""
    lake, one = Lake.open(tmp_path / "lake"), candidate()
    assert paid([one], lake=lake) == 0.0
    shards = []
    for who, name in ((one, "a"), (one, "b"), (candidate("other"), "a")):
        row = {"query_id": [name], "candidate_id": [who.candidate_id], "sample": [0]}
        rows = completions(row | {"outcome": ["ok"], "cost_usd": [0.25]})
        key = who.candidate_id
        shards.append(write_shard(rows, lake=lake, table=COMPLETIONS, partition=key))
    assert paid([one], lake=lake) == 0.5
    commit_shards(shards[:1], lake=lake, table=COMPLETIONS)
    assert paid([one], lake=lake) == 0.5
    for shard in shards[1:]:
        commit_shards([shard], lake=lake, table=COMPLETIONS)
    assert paid([one], lake=lake) == 0.5

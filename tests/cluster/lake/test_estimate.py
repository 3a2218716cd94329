"""What is missing and what it will come to, from answers the lake has."""

from pathlib import Path

import polars as pl
import pytest

from cluster.candidate import Candidate
from cluster.completion import completions
from cluster.lake.commit import append_new
from cluster.lake.estimate import dataset_queries, estimate
from cluster.lake.lake import Lake
from cluster.lake.shard import write_shard
from cluster.lake.tables import COMPLETIONS, QUERIES

TEXTS = {"a": "x" * 100, "b": "x" * 300, "c": "x" * 200, "d": "x" * 400}
QUERY_ROWS = pl.DataFrame({"query_id": list(TEXTS), "text": list(TEXTS.values())})
SIZED = QUERY_ROWS.select("query_id", bytes=pl.col("text").str.len_bytes())


def candidate(name: str = "one", **fields) -> Candidate:
    return Candidate(**{"name": name, "engine": "echo", "model": name} | fields)


def answers(of: Candidate, *ids: str, outcome: str = "ok", gpu_seconds=None) -> pl.DataFrame:
    """Answers of 10 tokens, prompts of a token for every two bytes."""
    return completions(
        {
            "query_id": list(ids),
            "candidate_id": [of.candidate_id] * len(ids),
            "sample": [0] * len(ids),
            "prompt_tokens": [len(TEXTS[key]) // 2 for key in ids],
            "completion_tokens": [10] * len(ids),
            "outcome": [outcome] * len(ids),
            "gpu_seconds": [gpu_seconds] * len(ids),
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(str(tmp_path / "lake"))
    rows = QUERY_ROWS.with_columns(dataset=pl.lit("d"))
    append_new(rows, lake=lake, table=QUERIES)
    return lake


def test_tokens_and_usd_are_those_of_the_candidate_s_own_answers(lake: Lake) -> None:
    one = candidate(price={"input": 1.0, "output": 10.0})
    append_new(answers(one, "a", "b"), lake=lake, table=COMPLETIONS)
    (found,) = estimate(SIZED, candidates=[one], lake=lake)
    assert (found.required, found.there, found.missing) == (4, 2, 2)
    assert (found.prompt_tokens, found.completion_tokens) == (300, 20)
    assert found.cost_usd == pytest.approx((300 + 200) / 1e6)
    assert "its own 2 answers" in found.source


def test_others_answers_stand_in_for_a_candidate_that_has_none(lake: Lake) -> None:
    append_new(answers(candidate("other"), "a"), lake=lake, table=COMPLETIONS)
    (found,) = estimate(SIZED, candidates=[candidate()], lake=lake)
    assert (found.prompt_tokens, found.completion_tokens) == (500, 40)
    assert "other candidates" in found.source


def test_with_no_lake_answers_are_as_long_as_they_may_be() -> None:
    one = candidate(sampling={"max_tokens": 7}, samples=2)
    (found,) = estimate(SIZED, candidates=[one], lake=None)
    assert (found.missing, found.prompt_tokens, found.completion_tokens) == (8, 500, 56)
    assert found.cost_usd is None


def test_a_system_message_is_read_with_every_query() -> None:
    one = candidate(chat=True, system="x" * 400)
    (found,) = estimate(SIZED, candidates=[one], lake=None)
    assert found.prompt_tokens == (1000 + 4 * 400) // 4


def test_time_of_gpus_is_priced_by_the_hour(lake: Lake) -> None:
    one = candidate(resources={"gpus": 2, "usd_per_gpu_hour": 3.0})
    (unknown,) = estimate(SIZED, candidates=[one], lake=lake)
    assert unknown.gpu_hours is None
    assert unknown.gpu_cost_usd is None
    append_new(answers(one, "a", gpu_seconds=120.0), lake=lake, table=COMPLETIONS)
    (found,) = estimate(SIZED, candidates=[one], lake=lake)
    assert found.gpu_hours == pytest.approx(3 * 120 / 3600)
    assert found.gpu_cost_usd == pytest.approx(0.3)


def test_what_a_killed_run_staged_counts_as_there_and_stays_staged(lake: Lake) -> None:
    one = candidate()
    write_shard(answers(one, "a", "c"), lake=lake, table=COMPLETIONS, partition=one.candidate_id)
    (found,) = estimate(SIZED, candidates=[one], lake=lake)
    assert found.missing == 2
    assert lake.read(COMPLETIONS).is_empty()


def test_errors_are_there_and_counted(lake: Lake) -> None:
    one = candidate()
    append_new(answers(one, "a", outcome="error"), lake=lake, table=COMPLETIONS)
    (found,) = estimate(SIZED, candidates=[one], lake=lake)
    assert (found.there, found.errors, found.missing) == (1, 1, 3)


def test_a_budget_takes_its_share_of_what_is_missing(lake: Lake) -> None:
    (found,) = estimate(SIZED, candidates=[candidate(samples=3)], lake=lake, budget=2)
    assert found.missing == 6
    (all_of_it,) = estimate(SIZED, candidates=[candidate()], lake=lake, budget=9)
    assert all_of_it.missing == 4


def test_queries_of_other_datasets_are_told_apart(lake: Lake) -> None:
    own, others = dataset_queries(lake, dataset="e")
    assert own.is_empty()
    assert sorted(others) == list(TEXTS)

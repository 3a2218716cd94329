"""Planning by keys: required − committed − staged, whatever was left where."""

import tempfile

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.lake.commit import commit_shards
from cluster.lake.lake import Lake
from cluster.lake.plan import plan_candidate, required_samples
from cluster.lake.shard import Shard, write_shard
from cluster.lake.tables import COMPLETIONS

Key = tuple[str, int]
KEYS = st.tuples(st.sampled_from("abcde"), st.integers(0, 2))
SHARDS = st.lists(st.lists(KEYS, unique=True, min_size=1, max_size=4), max_size=3)


def stage(
    keys: list[Key], *, lake: Lake, candidate: str = "c", outcome: str = "ok", name: str = ""
) -> Shard:
    rows = frame_of(keys).with_columns(
        pl.lit(candidate).alias("candidate_id"), pl.lit(outcome).alias("outcome")
    )
    missing = [column for column in COMPLETIONS.schema if column not in rows.columns]
    rows = rows.with_columns(pl.lit(None).alias(column) for column in missing)
    return write_shard(rows, lake=lake, table=COMPLETIONS, partition=candidate, name=name)


def frame_of(keys: list[Key]) -> pl.DataFrame:
    return pl.DataFrame(keys, schema={"query_id": pl.String, "sample": pl.Int32}, orient="row")


def committed_keys(lake: Lake, *, candidate: str = "c") -> list[Key]:
    rows = lake.read(COMPLETIONS).filter(candidate_id=candidate)
    return sorted(rows.select("query_id", "sample").rows())


@settings(max_examples=15, deadline=None)
@given(SHARDS, SHARDS, st.lists(KEYS, unique=True))
def test_missing_is_what_is_neither_committed_nor_staged(committed, staged, required) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(folder)
        shards = [stage(keys, lake=lake) for keys in committed]
        taken = commit_shards(shards, lake=lake, table=COMPLETIONS)
        before = set(committed_keys(lake))
        # A shard that was refused for a shared key lies there staged too.
        for keys in staged:
            stage(keys, lake=lake)
        plan = plan_candidate(frame_of(required), lake=lake, candidate_id="c")
        after = committed_keys(lake)
        assert len(after) == len(set(after))
        assert before <= set(after)
        assert plan.adopted == len(after) - len(before)
        assert plan.missing.rows() == [key for key in required if key not in after]
        assert plan.required == len(required)
        refused = [keys for keys in [*committed, *staged] if not set(keys) <= set(after)]
        assert all(set(keys) & set(after) for keys in refused)
        assert sum(shard.rows for shard in taken) == len(before)
        again = plan_candidate(frame_of(required), lake=lake, candidate_id="c")
        assert again.adopted == 0
        assert again.missing.equals(plan.missing)


def test_another_candidate_s_answers_are_not_ours(root: str) -> None:
    lake = Lake.open(root)
    commit_shards([stage([("a", 0)], lake=lake)], lake=lake, table=COMPLETIONS)
    stage([("b", 0)], lake=lake, candidate="other")
    plan = plan_candidate(frame_of([("a", 0), ("b", 0)]), lake=lake, candidate_id="other")
    assert (plan.adopted, plan.missing.rows()) == (1, [("a", 0)])
    assert committed_keys(lake, candidate="c") == [("a", 0)]


def test_an_error_is_an_answer_until_it_is_retried(root: str) -> None:
    lake = Lake.open(root)
    errors = stage([("a", 0), ("z", 0)], lake=lake, outcome="error", name="errors-1.parquet")
    commit_shards([errors], lake=lake, table=COMPLETIONS)
    plan = plan_candidate(frame_of([("a", 0), ("b", 0)]), lake=lake, candidate_id="c")
    assert (plan.errors, plan.missing.rows()) == (1, [("b", 0)])


@pytest.mark.parametrize("samples", [1, 3])
def test_every_query_needs_all_its_samples_once(samples: int) -> None:
    required = required_samples(pl.Series(["b", "a", "b"]), samples=samples)
    assert required.rows() == [(query, n) for query in "ba" for n in range(samples)]


def test_more_samples_ask_only_for_the_new_ones(root: str) -> None:
    lake, queries = Lake.open(root), pl.Series(["a", "b"])
    first = required_samples(queries, samples=1)
    commit_shards([stage(first.rows(), lake=lake)], lake=lake, table=COMPLETIONS)
    more = plan_candidate(required_samples(queries, samples=2), lake=lake, candidate_id="c")
    assert more.missing.rows() == [("a", 1), ("b", 1)]

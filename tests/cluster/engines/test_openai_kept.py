"""What a worker keeps of an endpoint that stops, changes its model or tells secrets."""

from pathlib import Path

import polars as pl
import pytest

from cluster.candidate import Candidate
from cluster.errors import EngineError
from cluster.jobs.generate_worker import GenerateWorker
from cluster.lake.commit import commit_shards
from cluster.lake.lake import Lake
from cluster.lake.plan import Plan, plan_candidate, required_samples
from cluster.lake.tables import COMPLETIONS

from .odd_endpoint import Odd, OddEndpoint, completion

KEY = "planted-key-8c41d9"
QUERIES = ["a", "b", "c", "d"]
REQUESTS = pl.DataFrame(
    {"query_id": QUERIES, "text": QUERIES, "messages": None},
    schema_overrides={"messages": pl.String},
)


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Lake:
    monkeypatch.setenv("GATEWAY_KEY", KEY)
    return Lake.open(str(tmp_path / "lake"))


def candidate(url: str, **fields) -> Candidate:
    endpoint = {"url": url, "key_variable": "GATEWAY_KEY", "retries": 0, "concurrency": 1}
    spec = {"name": "far", "engine": "openai", "model": "m", "endpoint": endpoint}
    return Candidate.model_validate(spec | fields)


def work(one: Candidate, *, lake: Lake, sample: int = 0) -> str:
    """A shard answered and committed; what the worker says if it cannot."""
    worker = GenerateWorker(lake.storage.uri)
    try:
        worker.load(one.model_dump_json())
        samples = pl.Series([[sample]] * 4, dtype=pl.List(pl.Int32))
        report = worker.answer(REQUESTS.with_columns(samples=samples))
    except EngineError as error:
        return str(error)
    finally:
        if worker.engine is not None:
            worker.engine.close()
    commit_shards(report.shards, lake=lake, table=COMPLETIONS)
    return ""


def plan(one: Candidate, *, lake: Lake) -> Plan:
    required = required_samples(REQUESTS["query_id"], samples=1)
    return plan_candidate(required, lake=lake, candidate_id=one.candidate_id)


def test_what_was_answered_before_the_money_ran_out_is_adopted_by_the_next_run(lake):
    paid = Odd({"error": {"message": "pay"}}, status=402)
    with OddEndpoint(lambda _, n: completion("yes") if n < 3 else paid) as far:
        one = candidate(far.url, price={"input": 1, "output": 10})
        assert "no more credit" in work(one, lake=lake)
        left = plan(one, lake=lake)
    assert left.adopted == 3
    assert left.missing["query_id"].to_list() == ["d"]
    kept = lake.read(COMPLETIONS)
    assert kept["cost_usd"].to_list() == pytest.approx([(3 + 20) / 1e6] * 3)


def test_a_model_that_changed_since_the_last_run_is_refused(lake):
    names = iter(["m-1"] * 4 + ["m-2"] * 8)
    with OddEndpoint(lambda *_: completion("yes", model=next(names))) as far:
        one = candidate(far.url)
        assert work(one, lake=lake) == ""
        message = work(one, lake=lake, sample=1)
        assert "with 'm-2', so far it was 'm-1'" in message
        assert plan(one, lake=lake).missing.is_empty()
        renewed = candidate(far.url, revision="m-2")
        assert work(renewed, lake=lake) == ""
    kept = lake.read(COMPLETIONS).group_by("candidate_id").agg(pl.col("served_model").unique())
    assert dict(kept.rows()) == {one.candidate_id: ["m-1"], renewed.candidate_id: ["m-2"]}


def test_the_key_is_nowhere_in_the_lake(lake, capfd, caplog):
    replies = {
        "a": completion(f"your key is {KEY}"),
        "b": Odd({"error": f"no credit on {KEY}"}, status=400),
        "c": Odd(KEY.encode(), kind="text/plain"),
        "d": completion("yes"),
    }
    with OddEndpoint(lambda body, _: replies[body["prompt"]]) as far:
        one = candidate(far.url)
        assert work(one, lake=lake) == ""
    kept = lake.read(COMPLETIONS).sort("query_id")
    assert kept["outcome"].to_list() == ["error", "error", "error", "ok"]
    assert KEY not in str(kept.to_dicts())
    assert KEY not in one.model_dump_json()
    assert all(KEY.encode() not in file.read_bytes() for file in files(lake))
    assert KEY not in "".join(capfd.readouterr()) + caplog.text


def files(lake: Lake) -> list[Path]:
    return [path for path in Path(lake.storage.uri).rglob("*") if path.is_file()]

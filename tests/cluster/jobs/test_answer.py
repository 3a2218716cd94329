"""The answer job, run by hand: who answered what, and what it cost."""

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.answer import AnswerSpec, answer
from cluster.jobs.run import Run
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS
from cluster.price import Price

NAMES = {"id-1": "cheap", "id-2": "strong"}
PRICES = {"cheap": Price(input=1, output=2), "strong": Price(input=10, output=20)}


def completion(query: str, candidate: str) -> dict:
    return {
        "query_id": query,
        "candidate_id": candidate,
        "sample": 0,
        "text": f"{candidate} on {query}",
        "finish_reason": "stop",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "seconds": 0.1,
        "outcome": "ok",
    }


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    rows = [completion(query, candidate) for query in "ab" for candidate in NAMES]
    schema = dict(COMPLETIONS.schema)
    append_new(pl.DataFrame(rows, schema=schema), lake=lake, table=COMPLETIONS)
    return lake


def spec_for(lake: Lake, work: str = "route-1", **changes) -> AnswerSpec:
    """Of query a the cheap one's answer is wanted, of b the strong one's."""
    requests = lake.storage.join("runs", work, "requests.parquet")
    asked = {"query_id": ["a", "b"], "candidate_id": list(NAMES), "original": ["A?", "B?"]}
    lake.storage.write(requests, b"")
    pl.DataFrame(asked).write_parquet(requests)
    settings = {
        "lake": lake.storage.uri,
        "requests": requests,
        "output": f"{lake.storage.uri}/out.answers.parquet",
        "candidates": NAMES,
        "prices": PRICES,
        "inputs": lake.versions([COMPLETIONS]),
    }
    return AnswerSpec(**(settings | changes))


def run(spec: AnswerSpec) -> dict:
    manifest = answer(spec, Run.of(spec))
    Run.of(spec).write_manifest(manifest)
    return manifest


def test_every_request_gets_the_answer_of_its_candidate_with_its_cost(lake) -> None:
    manifest = run(spec_for(lake))
    answers = pl.read_parquet(manifest["outputs"][0])
    assert answers.select("text", "candidate", "answer").rows() == [
        ("A?", "cheap", "id-1 on a"),
        ("B?", "strong", "id-2 on b"),
    ]
    assert answers["cost_usd"].to_list() == pytest.approx([120e-6, 1200e-6])
    assert manifest["cost_usd"] == pytest.approx(1320e-6)


@pytest.mark.parametrize("prices", [{}, {"cheap": PRICES["cheap"]}])
def test_what_is_not_known_of_one_answer_is_not_known_of_all(lake, prices) -> None:
    manifest = run(spec_for(lake, prices=prices))
    assert manifest["cost_usd"] is None
    assert manifest["answers"] == 2


def test_a_file_that_is_not_of_these_requests_is_refused_or_replaced(lake) -> None:
    output = spec_for(lake).output
    lake.storage.write(output, b"mine")
    with pytest.raises(InputError, match=r"out\.answers\.parquet: is there already.*--overwrite"):
        run(spec_for(lake))
    assert lake.storage.read_bytes(output) == b"mine"
    assert run(spec_for(lake, overwrite=True))["answers"] == 2
    assert run(spec_for(lake))["answers"] == 2
    with pytest.raises(InputError, match="--overwrite"):
        run(spec_for(lake, work="route-2"))
    assert Run.of(spec_for(lake)).read_manifest() is not None
    run(spec_for(lake, work="route-2", overwrite=True))
    assert Run.of(spec_for(lake)).read_manifest() is None

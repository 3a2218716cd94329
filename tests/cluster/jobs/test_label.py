"""The label job: what a scorer gives is kept, what is no number is missing."""

import re

import polars as pl
import pytest

from cluster.completion import completions
from cluster.engines.engine import Engine
from cluster.errors import EngineError
from cluster.jobs import label as label_job
from cluster.jobs.label import LabelSpec, finite, label
from cluster.jobs.run import Run
from cluster.labels import Label
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import scorers_on
from cluster.lake.tables import CANDIDATES, COMPLETIONS, PREFERENCES, QUERIES, REWARDS, TAGS
from cluster.rewards import judge as judge_module
from cluster.rewards.judge import Judge


def test_rewards_that_are_no_number_are_missing(caplog) -> None:
    values = pl.Series([0.5, float("nan"), None, float("inf"), 1.0])
    found = finite(values, scorer="own")
    assert found.to_list() == [0.5, None, None, None, 1.0]
    assert "own: 2 rewards are NaN or infinite" in caplog.text


def test_numbers_stay_as_they_are(caplog) -> None:
    assert finite(pl.Series([0, 1, None]), scorer="own").to_list() == [0.0, 1.0, None]
    assert not caplog.text


class Digits(Engine):
    """A judge that prefers the higher number and has no words for 0."""

    def __init__(self, candidate):
        pass

    def answer(self, requests):
        texts = [self._verdict(one.text) for one in requests]
        return completions({"text": texts, "outcome": ["ok"] * len(texts)})

    @staticmethod
    def _verdict(prompt):
        a, b = re.findall(r"<<<\w+\n(\d)", prompt)
        return "?" if "0" in (a, b) else f'{{"verdict": "{"A" if a > b else "B"}"}}'

    def close(self):
        pass


@pytest.fixture
def judged(monkeypatch, tmp_path):
    """Collect answers in turns, each labelled; returns the lake and what the last job says."""
    monkeypatch.setattr(label_job, "connect", lambda: None)
    monkeypatch.setattr(judge_module, "load_plugin", lambda *_, **__: Digits)
    monkeypatch.setattr(Judge, "needs_actor", False)

    def run(name, *turns, samples=1):
        lake = Lake.open(tmp_path / name)
        for query in ("q1", "q2"):
            row = {"query_id": query, "dataset": "d", "task": "t", "text": "why?"}
            append_new(pl.DataFrame([row], schema=QUERIES.schema), lake=lake, table=QUERIES)
        for digits in turns:
            collected(lake, digits=digits, samples=samples)
            told = labelled(lake)
        return lake, told

    return run


def collected(lake, *, digits, samples):
    """Every candidate's answers to two queries; its sample n is its digit, plus n, modulo 5."""
    rows = [
        {
            "query_id": query,
            "candidate_id": f"id-{digit}",
            "sample": sample,
            "text": f"{(int(digit) + sample) % 5}",
            "outcome": "ok",
        }
        for digit in digits
        for query in ("q1", "q2")
        for sample in range(samples)
    ]
    append_new(
        completions(pl.DataFrame(rows).to_dict(as_series=False)), lake=lake, table=COMPLETIONS
    )
    names = [{"candidate_id": f"id-{n}", "sequence": 1, "name": n, "spec": "{}"} for n in digits]
    append_new(pl.DataFrame(names, schema=CANDIDATES.schema), lake=lake, table=CANDIDATES)


def labelled(lake):
    own = {"candidate": {"engine": "rule", "model": "m"}, "mode": "pairwise"}
    spec = LabelSpec(
        lake=lake.storage.uri,
        dataset="d",
        scorers=(Label(name="referee", method="judge", settings=own),),
        taggers=(),
        inputs={table.name: lake.version(table) for table in (QUERIES, COMPLETIONS)},
    )
    return label(spec, Run.of(spec))["rewards"]["referee"]


def tables(lake):
    """What is kept of the judge: rewards and battles."""
    return [lake.read(table).sort(list(table.key)) for table in (REWARDS, PREFERENCES)]


@pytest.mark.parametrize("samples", [1, 3])
def test_a_newcomer_changes_the_shares_of_those_it_is_compared_with(judged, samples):
    at_once, _ = judged("one", "1234", samples=samples)
    in_turns, told = judged("two", "12", "3", "4", samples=samples)
    for found, expected in zip(tables(in_turns), tables(at_once), strict=True):
        assert found.equals(expected)
    assert told["new"] == 2 * samples
    rewards = tables(judged("three", "12", "3")[0])[0]
    assert rewards["value"].to_list() == [0.0, 0.5, 1.0] * 2


def test_a_crash_between_battles_and_rewards_is_mended_by_the_next_run(judged, monkeypatch):
    at_once, _ = judged("one", "123")
    lake, _ = judged("two", "12")
    collected(lake, digits="3", samples=1)
    with monkeypatch.context() as broken:
        broken.setattr(label_job, "put_rewards", fails)
        with pytest.raises(OSError, match="full"):
            labelled(lake)
    for _ in range(2):
        labelled(lake)
        for found, expected in zip(tables(lake), tables(at_once), strict=True):
            assert found.equals(expected)


def fails(*_, **__):
    raise OSError("the disk is full")


def test_an_answer_nobody_could_compare_is_counted_by_the_kind_of_fault(judged):
    _, told = judged("one", "01")
    assert told["reasons"] == {"unparsable": 4}
    assert told["mean"] is None


@pytest.fixture
def answered(tmp_path, monkeypatch) -> Lake:
    """A lake with one query and its right answer."""
    monkeypatch.setattr(label_job, "connect", lambda: None)
    lake = Lake.open(tmp_path / "lake")
    query = {"query_id": "q", "dataset": "d", "task": "t", "text": "1 + 1?", "reference": "2"}
    append_new(pl.DataFrame([query], schema=QUERIES.schema), lake=lake, table=QUERIES)
    answer = {"query_id": "q", "candidate_id": "c", "sample": 0, "text": "2", "outcome": "ok"}
    append_new(pl.DataFrame([answer], schema=COMPLETIONS.schema), lake=lake, table=COMPLETIONS)
    return lake


def blend(name: str, *, of: str) -> Label:
    return Label(name=name, method="weighted", settings={"of": {of: 1.0}})


def run_labels(lake: Lake, *scorers: Label, taggers: tuple[Label, ...] = ()) -> None:
    inputs = lake.versions((QUERIES, COMPLETIONS))
    spec = LabelSpec(
        lake=lake.storage.uri, dataset="d", scorers=scorers, taggers=taggers, inputs=inputs
    )
    label_job.label(spec, Run.of(spec))


def test_one_that_fails_leaves_the_others_to_run_and_is_named(answered: Lake) -> None:
    failing, exact = blend("blend", of="nothere"), Label(name="exact", method="exact")
    with pytest.raises(EngineError, match=r"scorer 'blend'.*nothere.*What succeeded is kept"):
        run_labels(answered, failing, exact, taggers=(Label(name="task", method="task"),))
    assert answered.read(REWARDS)["value"].to_list() == [1.0]
    assert answered.read(TAGS)["tag"].to_list() == ["t"]


def test_a_blend_is_not_made_from_earlier_rewards_of_one_that_fails(answered: Lake) -> None:
    run_labels(answered, Label(name="base", method="exact"))
    failing, reader = blend("base", of="nothere"), blend("mix", of="base")
    with pytest.raises(EngineError, match=r"scorer 'mix': it reads the rewards of 'base'"):
        run_labels(answered, failing, reader)
    assert answered.read(REWARDS).height == 1
    run_labels(answered, reader)
    assert answered.read(REWARDS).height == 2


def test_scorers_on_a_dataset_are_those_that_have_seen_it(answered: Lake) -> None:
    run_labels(answered, Label(name="exact", method="exact"))
    assert scorers_on(answered, dataset="d") == {"exact"}
    assert scorers_on(answered, dataset="another") == set()

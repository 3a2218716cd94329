"""Rewards made of other scorers' rewards, through the label job and the view."""

import json

import polars as pl
import pytest

from cluster.errors import EngineError, InputError
from cluster.jobs import label as label_job
from cluster.jobs.label import LabelSpec, label
from cluster.jobs.run import Run
from cluster.labels import read_labels
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import CANDIDATES, COMPLETIONS, QUERIES, REWARDS, SCORERS
from cluster.rewards.scorer import load_scorer

BLEND = "scorers: {blend: {scorer: weighted, of: {helpful: 3, exact: 1}%s}}"


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Nothing here has an actor."""
    monkeypatch.setattr(label_job, "connect", lambda: None)


def add(lake, table, *rows):
    append_new(pl.DataFrame(list(rows), schema=table.schema), lake=lake, table=table)


def answer(lake, query, candidate, text, *, helpful=None, reason=None):
    """An answer, and what an imported scorer says of it where it says anything."""
    key = {"query_id": query, "candidate_id": f"id-{candidate}", "sample": 0}
    add(lake, COMPLETIONS, {**key, "text": text, "outcome": "ok"})
    if helpful is not None or reason:
        reward = {"scorer_id": "helpful-id", "value": helpful, "weight": 1.0, "reason": reason}
        add(lake, REWARDS, {**key, **reward})


def query(lake, name, *, split="train", reference="yes"):
    row = {"dataset": "d", "task": "t", "split": split, "sampling_probability": 1.0}
    add(lake, QUERIES, {"query_id": name, "text": f"is {name}", "reference": reference, **row})


@pytest.fixture
def lake(tmp_path):
    """Two queries and two candidates; `helpful` grades from 0 to 10, `exact` is 0 or 1."""
    lake = Lake.open(tmp_path / "lake")
    names = [{"candidate_id": f"id-{n}", "sequence": 1, "name": n, "spec": "{}"} for n in "ab"]
    add(lake, CANDIDATES, *names)
    add(lake, SCORERS, {"scorer_id": "helpful-id", "name": "helpful", "spec": "{}"})
    query(lake, "q1")
    query(lake, "q2")
    answer(lake, "q1", "a", "yes", helpful=0.0)
    answer(lake, "q1", "b", "no", helpful=10.0)
    answer(lake, "q2", "a", "yes", helpful=5.0)
    return lake


@pytest.fixture
def blended(lake, tmp_path):
    """Label with the blend and its settings; returns what the job says of it."""

    def run(settings="", *, text=BLEND, scorers=("exact",)):
        file = tmp_path / "labels.yaml"
        file.write_text(text.replace("%s", settings))
        labels = read_labels(str(file), scorers=scorers, taggers=[])
        spec = LabelSpec(
            lake=lake.storage.uri,
            dataset="d",
            scorers=labels.scorers,
            taggers=(),
            inputs={t.name: lake.version(t) for t in (QUERIES, COMPLETIONS)},
        )
        return label(spec, Run.of(spec))["rewards"]

    return run


def view(lake):
    return read_outcomes(lake, dataset="d", scorer="blend").reward.tolist()


def kept(lake, name="blend"):
    """Rewards of a scorer with its reasons, and its specs."""
    specs = lake.read(SCORERS).filter(pl.col("name") == name)
    rows = lake.read(REWARDS).join(specs, on="scorer_id").sort("query_id", "candidate_id")
    return rows, [json.loads(spec) for spec in specs["spec"]]


def test_parts_are_brought_to_one_scale_and_weighed(lake, blended):
    assert blended(", normalise: min_max")["blend"]["new"] == 3
    found = view(lake)
    assert found[0] == [1 / 4, 3 / 4]
    assert found[1][0] == pytest.approx((3 * 0.5 + 1) / 4)


def test_without_a_scale_values_are_weighed_as_they_are(lake, blended):
    blended()
    assert view(lake)[0] == [1 / 4, 30 / 4]


def test_what_is_there_is_not_combined_again(lake, blended):
    blended(", normalise: z_score")
    before, specs = kept(lake)
    assert blended(", normalise: z_score")["blend"]["new"] == 0
    answer(lake, "q2", "b", "no", helpful=9.0)
    assert blended(", normalise: z_score")["blend"]["new"] == 1
    after, now = kept(lake)
    assert now == specs
    assert before.join(after, on=before.columns, how="anti", nulls_equal=True).is_empty()


def test_with_twice_as_much_to_measure_by_the_scale_is_measured_again(lake, blended):
    blended(", normalise: min_max")
    for name in ("q3", "q4"):
        query(lake, name)
        answer(lake, name, "a", "no", helpful=20.0)
        answer(lake, name, "b", "no", helpful=20.0)
    blended(", normalise: min_max")
    assert view(lake)[0][1] == pytest.approx(3 / 4 * 10 / 20)


def test_test_rows_measure_nothing(lake, blended):
    query(lake, "held", split="test")
    answer(lake, "held", "a", "yes", helpful=1000.0)
    blended(", normalise: min_max")
    rows = read_outcomes(lake, dataset="d", scorer="blend")
    by_query = dict(zip(rows.queries["query_id"], rows.reward.tolist(), strict=True))
    assert by_query["q1"] == [1 / 4, 3 / 4]
    assert by_query["held"][0] == 1.0


def test_an_answer_without_a_part_has_no_reward_and_a_reason_where_there_is_one(lake, blended):
    query(lake, "q3", reference=None)
    answer(lake, "q3", "a", "yes", helpful=1.0)
    answer(lake, "q2", "b", "", reason="the judge's answer is no grade")
    assert blended()["blend"]["without_reward"] == 2
    rows, _ = kept(lake)
    told = rows.filter(pl.col("value").is_null())
    # No reference: exact does not apply, and may when there is one.
    assert told.select("query_id", "reason").rows() == [
        ("q2", "helpful: the judge's answer is no grade")
    ]


def test_some_parts_are_enough_where_that_is_said(lake, blended):
    query(lake, "q3", reference=None)
    answer(lake, "q3", "a", "yes", helpful=1.0)
    answer(lake, "q2", "b", "yes", reason="no grade")
    assert blended(", partial: true")["blend"]["without_reward"] == 0
    rows, _ = kept(lake)
    told = rows.filter(pl.col("reason").is_not_null()).select("query_id", "value", "reason")
    assert told.rows() == [("q2", 1.0, "helpful: no grade"), ("q3", 1.0, "exact: no reward")]


def test_another_part_is_another_scorer(lake, blended):
    blended()
    strict = load_scorer("exact", alternatives="|")
    blended(text=BLEND.replace("blend:", "exact: {alternatives: '|'}, blend:"), scorers=())
    parts = {spec["parts"]["exact"]["scorer_id"] for spec in kept(lake)[1]}
    assert parts == {load_scorer("exact").scorer_id, strict.scorer_id}


def test_a_blend_of_a_blend_runs_behind_it_however_it_is_written(lake, blended):
    text = (
        "scorers: {top: {scorer: weighted, of: {blend: 1, helpful: 1}},"
        " blend: {scorer: weighted, of: {helpful: 1, exact: 1}}}"
    )
    assert list(blended(text=text)) == ["exact", "blend", "top"]
    assert read_outcomes(lake, dataset="d", scorer="top").reward[0, 1] == (5 + 10) / 2


def test_imported_rewards_are_combined_without_their_answers(lake, blended):
    query(lake, "q9")
    key = {"query_id": "q9", "candidate_id": "id-a", "sample": 0, "weight": 1.0}
    add(lake, REWARDS, {**key, "scorer_id": "helpful-id", "value": 4.0})
    blended(text="scorers: {blend: {scorer: weighted, of: {helpful: 2}}}", scorers=())
    assert view(lake)[2][0] == 4.0


def test_a_part_that_is_not_there_is_named(lake, blended):
    with pytest.raises(EngineError, match=r"'blend': it reads .* 'kind',.*--labels.*: exact, help"):
        blended(text="scorers: {blend: {scorer: weighted, of: {kind: 1, exact: 1}}}")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{scorer: weighted}", ["'of' is missing"]),
        ("{scorer: weighted, of: {}}", ["of", "at least 1"]),
        ("{scorer: weighted, of: {exact: 0}}", ["of.exact", "greater than 0"]),
        ("{scorer: weighted, of: {exact: .inf}}", ["of.exact", "finite"]),
        ("{scorer: weighted, of: {exact: 1}, normalise: rank}", ["normalise", "'min_max'"]),
        ("{scorer: weighted, of: {exact: 1}, parts: {}}", ["unknown field 'parts'"]),
        ("{scorer: weighted, of: {blend: 1}}", ["'blend' reads 'blend'"]),
    ],
)
def test_what_cannot_be_combined_is_told_before_anything_runs(tmp_path, entry, words):
    file = tmp_path / "labels.yaml"
    file.write_text(f"scorers: {{blend: {entry}}}")
    with pytest.raises(InputError) as error:
        read_labels(str(file), scorers=["exact"], taggers=[])
    assert all(word in str(error.value) for word in [str(file), *words])

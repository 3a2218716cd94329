"""What the lake tells of a judge: turned verdicts, a liking for length, agreement with gold."""

import json

import polars as pl
import pytest

from cluster.completion import completions
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, PREFERENCES, QUERIES, REWARDS, SCORERS
from cluster.rewards.judge_report import SUMMARY_SCHEMA, judge_summary

# Characters of the answers of a and b to three queries, and of c to the first.
LENGTHS = {("q1", "a"): 10, ("q1", "b"): 5, ("q1", "c"): 7, ("q2", "a"): 3, ("q2", "b"): 9}
LENGTHS |= {("q3", "a"): 4, ("q3", "b"): 4}
GRADES = {("q1", "a"): 1.0, ("q1", "b"): 0.5, ("q1", "c"): 0.5, ("q2", "a"): 0.25}
GRADES |= {("q2", "b"): 0.75, ("q3", "a"): None, ("q3", "b"): 0.0}
GOLD = {("q1", "a"): 1.0, ("q1", "b"): 0.0, ("q1", "c"): 0.0, ("q2", "a"): 1.0, ("q2", "b"): 0.0}
BATTLES = {("q1", "a", "b"): 1.0, ("q2", "a", "b"): 0.5, ("q3", "a", "b"): 0.0}
ORDERS = {("q1", "a"): (1, 0, 0), ("q1", "b"): (1, 0, 0), ("q2", "a"): (1, 1, 1)}
ORDERS |= {("q2", "b"): (1, 1, 1), ("q3", "a"): (2, 1, 0), ("q3", "b"): (2, 1, 0)}


def add(lake, table, rows):
    append_new(pl.DataFrame(rows, schema=table.schema), lake=lake, table=table)


def rewards_of(values, *, scorer, reasons=None):
    return [
        {
            "query_id": query,
            "candidate_id": candidate,
            "sample": 0,
            "scorer_id": scorer,
            "value": value,
            "weight": 1.0,
            "raw": None,
            "reason": (reasons or {}).get((query, candidate)),
        }
        for (query, candidate), value in values.items()
    ]


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    for dataset, queries in (("d", ("q1", "q2", "q3")), ("e", ("other",))):
        add(lake, QUERIES, [{"query_id": one, "dataset": dataset, "text": one} for one in queries])
    specs = {"id-g": {"scorer": "judge", "mode": "grade"}, "id-gold": {"scorer": "exact"}}
    specs |= {"id-p": {"scorer": "judge", "mode": "pairwise"}}
    names = {"id-g": "grades", "id-p": "referee", "id-gold": "exact"}
    add(
        lake,
        SCORERS,
        [{"scorer_id": k, "name": names[k], "spec": json.dumps(v)} for k, v in specs.items()],
    )
    keys = {"query_id": [], "candidate_id": [], "sample": [], "text": [], "outcome": []}
    for (query, candidate), n in LENGTHS.items():
        for column, value in zip(keys, (query, candidate, 0, "x" * n, "ok"), strict=True):
            keys[column].append(value)
    append_new(completions(keys), lake=lake, table=COMPLETIONS)
    words = {("q3", "a"): 'unparsable: the judge wrote "?"', ("q1", "a"): "cut: the judge read 9"}
    orders = {
        key: "orders: {} asked, {} turned, {} to the first".format(*n) for key, n in ORDERS.items()
    }
    add(lake, REWARDS, rewards_of(GRADES, scorer="id-g", reasons=words))
    add(lake, REWARDS, rewards_of(GOLD, scorer="id-gold"))
    add(lake, REWARDS, rewards_of(dict.fromkeys(ORDERS, 0.5), scorer="id-p", reasons=orders))
    add(lake, REWARDS, rewards_of({("other", "a"): 1.0}, scorer="id-p"))
    fought = [(*key, "referee", outcome) for key, outcome in BATTLES.items()]
    add(lake, PREFERENCES, [dict(zip(PREFERENCES.columns, row, strict=True)) for row in fought])
    return lake


def test_grades_are_read_as_verdicts(lake):
    (row,) = judge_summary(lake, dataset="d").filter(judge="grades").rows(named=True)
    assert (row["mode"], row["answers"], row["unparsable"], row["cut"]) == ("grade", 7, 1, 1)
    # a beats b and c on q1, which are equal; b beats a on q2; q3 lacks a.
    assert row["pairs"] == 4
    assert row["tie_share"] == 0.25
    assert row["longer_wins"] == 1.0
    assert row["length_correlation"] > 0.9
    assert row["position_bias"] is None
    assert (row["gold"], row["gold_pairs"]) == ("exact", 3)
    assert row["agreement"] == pytest.approx(2 / 3)


def test_turned_verdicts_are_the_position_bias(lake):
    (row,) = judge_summary(lake, dataset="d").filter(judge="referee").rows(named=True)
    assert (row["mode"], row["answers"], row["unparsable"]) == ("pairwise", 6, 0)
    assert row["position_bias"] == pytest.approx(4 / 8)
    assert row["to_first"] == pytest.approx(2 / 8)
    assert (row["pairs"], row["tie_share"]) == (3, pytest.approx(1 / 3))
    assert row["longer_wins"] == 1.0  # of q1 alone: q2 is a tie, q3's answers are equally long
    assert row["gold_pairs"] == 2
    assert row["agreement"] == pytest.approx((1.0 + 0.5) / 2)


def test_a_scorer_of_more_than_right_and_wrong_is_no_gold(lake):
    graded = dict(zip(GOLD, (0.0, 1.0, 0.5, 1.0, 0.0), strict=True))
    for name, values in (("f1", graded), ("lazy", dict.fromkeys(GOLD, 1.0))):
        row = {"scorer_id": f"id-{name}", "name": name, "spec": '{"scorer": "f1"}'}
        add(lake, SCORERS, [row])
        add(lake, REWARDS, rewards_of(values, scorer=f"id-{name}"))
    assert judge_summary(lake, dataset="d")["gold"].unique().to_list() == ["exact"]


def test_without_gold_or_without_a_judge(lake):
    (row,) = judge_summary(lake, dataset="e").rows(named=True)
    assert (row["judge"], row["answers"], row["pairs"]) == ("referee", 1, 0)
    assert (row["gold"], row["gold_pairs"], row["agreement"]) == (None, 0, None)
    empty = judge_summary(lake, dataset="none")
    assert empty.height == 0
    assert empty.schema == SUMMARY_SCHEMA

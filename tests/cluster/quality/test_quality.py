"""What is planted in a collection is found, named and counted, and nothing else is."""

import json

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import COMPLETIONS
from cluster.quality.collected import read_collected
from cluster.quality.coverage import KINDS
from cluster.quality.keep import folder_name, report_on_collection
from cluster.quality.quality import as_json
from cluster.quality.report import report

NAN = float("nan")
IS_A = pl.col("candidate_id") == "id-a"
LATE = pl.col("query_id") >= "q0060"


def words(found):
    return " | ".join(alarm.words for alarm in found.alarms)


def cells(found, name):
    """By kind, how many cells of a candidate are of it."""
    row = found.coverage.cells.row(by_predicate=pl.col("candidate") == name, named=True)
    return {kind: row[kind] for kind in KINDS if row[kind]}


def test_of_a_sound_collection_nothing_is_said(collect, specialists):
    found = collect(specialists).measure()
    assert not found.alarms
    assert (found.queries, found.candidates, found.tasks) == (80, ("a", "b"), 2)
    assert found.splits == {"train": 40, "validation": 20, "test": 20}
    assert found.duplicates.repeated == found.duplicates.across == 0


def test_rewards_are_those_of_the_outcomes_view(collect):
    rng = np.random.default_rng(0)
    reward = np.where(rng.random((30, 3, 2)) < 0.2, NAN, rng.random((30, 3, 2)))
    weight = pl.Series(rng.integers(1, 4, reward.size).astype(float))
    made = collect(reward, rewards={"weight": weight})
    view = read_outcomes(made.lake, dataset="d", scorer="exact")
    found = read_collected(made.lake, dataset="d", scorer="exact")
    np.testing.assert_allclose(found.cells.reward, view.reward)
    np.testing.assert_allclose(found.cells.samples, view.n_samples)
    assert found.candidates == view.candidates


def test_every_cell_is_counted_once_as_what_became_of_it(collect, specialists):
    reward = specialists.copy()
    reward[60:, 0] = NAN
    reward[:4, 1] = NAN
    outcome = pl.when(IS_A & LATE).then(pl.lit("error")).otherwise(pl.lit("ok"))
    made = collect(reward, answers={"outcome": outcome, "error": pl.lit("CUDA error 17")})
    found = made.measure()
    assert cells(found, "a") == {"rewarded": 60, "error": 20}
    assert cells(found, "b") == {"rewarded": 76, "no_reward": 4}
    assert found.coverage.cells.select(pl.sum_horizontal(KINDS)).to_series().to_list() == [80, 80]
    assert "12 % of all answers failed (25 % of a's), mostly for 'CUDA error …'" in words(found)
    assert "have no reward from this scorer (5.0 % of b's)" in words(found)


def test_answers_nobody_asked_for_are_missing(collect, specialists):
    reward = specialists.copy()
    reward[60:, 0] = NAN
    found = collect(reward, answers=False).measure()
    assert cells(found, "a") == {"rewarded": 60, "missing": 20}
    assert "12 % of all answers are missing, never asked for (25 % of a's)" in words(found)


def test_unread_answers_are_counted_by_their_reason(collect, specialists):
    reward = specialists.copy()
    reward[:20, 0] = NAN
    reasons = pl.when(pl.col("query_id") < "q0005").then(pl.lit("two letters"))
    reason = pl.when(IS_A).then(reasons.when(pl.col("query_id") < "q0020").then(pl.lit("no 42")))
    found = collect(reward, rewards={"reason": reason}).measure()
    assert cells(found, "a") == {"rewarded": 60, "unparsable": 20}
    assert found.coverage.reasons.rows() == [
        ("unparsable", "no …", "a", 15),
        ("unparsable", "two letters", "a", 5),
    ]
    assert "mostly for 'no …'" in words(found)


def test_cut_off_answers_are_told_with_what_they_earned(collect, specialists):
    outcome = pl.when(IS_A & LATE).then(pl.lit("truncated")).otherwise(pl.lit("ok"))
    found = collect(specialists, answers={"outcome": outcome}).measure()
    assert cells(found, "a") == {"rewarded": 60, "truncated": 20}
    earned = specialists[60:, 0].mean()
    others = (specialists.sum() - specialists[60:, 0].sum()) / 140
    assert found.coverage.reward_of_truncated == pytest.approx(earned)
    assert found.coverage.reward_of_whole == pytest.approx(others)
    assert "cut off at their length limit: a 25 %" in words(found)


def test_a_candidate_that_says_nothing_is_named(collect, specialists):
    text = pl.when(IS_A).then(pl.lit(" \n")).otherwise(pl.col("query_id"))
    found = collect(specialists, answers={"text": text}).measure()
    assert "a says nothing: 100 % of its answers are empty" in words(found)
    assert "b says" not in words(found)
    assert "take it out" in found.alarms[0].todo


def test_a_candidate_that_is_silent_at_times_is_not_to_be_taken_out(collect, specialists):
    silent = IS_A & (pl.col("query_id") < "q0009")
    text = pl.when(silent).then(pl.lit("")).otherwise(pl.col("query_id"))
    found = collect(specialists, answers={"text": text}).measure()
    assert "11 % of the answers of a are empty" in words(found)
    assert "says nothing" not in words(found)
    assert "take it out" not in found.alarms[0].todo


def test_a_candidate_that_always_says_the_same_is_quoted(collect, specialists):
    text = pl.when(IS_A & (pl.col("query_id") > "q0003")).then(pl.lit("I cannot.\n"))
    text = text.otherwise(pl.col("query_id"))
    found = collect(specialists, answers={"text": text}).measure()
    assert "a says 'I cannot.' to 95 % of the queries" in words(found)
    assert found.answers.table["same"].to_list() == [76 / 80, 1 / 80]


def test_what_answers_cost_is_their_mean_by_tokens_and_by_time(collect, specialists):
    usd = {"cost_usd": pl.when(IS_A).then(0.002), "gpu_cost_usd": pl.lit(0.0005)}
    tokens = {"completion_tokens": pl.when(IS_A).then(7).otherwise(9), "seconds": pl.lit(0.5)}
    table = collect(specialists, answers={**usd, **tokens}).measure().answers.table
    assert table["usd_per_1000"].to_list() == [pytest.approx(2.0), None]
    assert table["gpu_usd_per_1000"].to_list() == [pytest.approx(0.5)] * 2
    assert table["completion_tokens"].to_list() == [7, 9]
    assert table["seconds"].to_list() == [0.5, 0.5]


def test_queries_that_leak_across_splits_are_counted(collect, specialists):
    queries = collect(specialists).queries
    texts, splits = queries["text"].to_list(), queries["split"]
    train, test = splits.eq("train").arg_true(), splits.eq("test").arg_true()
    long = " ".join(f"word{number}" for number in range(40))
    # Three exact copies, and two that nearly repeat a test query.
    for place in range(3):
        texts[train[place]] = texts[test[place]]
    texts[test[5]] = long
    for place in (3, 4):
        texts[train[place]] = f"{long} {place}"
    made = collect(specialists, queries={"text": texts}, name="leaky")
    told = made.measure().duplicates
    assert (told.queries, told.texts, told.repeated, told.across) == (80, 77, 6, 6)
    assert dict(told.near.select("split", "near").rows())["train"] == 5


def test_copies_with_other_rewards_are_label_noise(collect, specialists):
    texts = [f"the same words for {number // 2} and {number // 2}" for number in range(80)]
    found = collect(specialists, queries={"text": texts}).measure()
    pairs = specialists.reshape(40, 2, 2)
    assert found.duplicates.differing == pytest.approx((pairs[:, 0] != pairs[:, 1]).mean())
    assert "got different rewards in 80 % of the cases" in words(found)


def test_queries_that_tell_nobody_apart(collect):
    reward = np.zeros((80, 3))
    reward[:20] = 1
    reward[70:, 0] = 1
    reward[70:75, 1] = 1
    found = collect(reward).measure()
    ties = found.compared.decided
    assert (ties.all_equal, ties.all_worst, ties.all_best) == (70 / 80, 50 / 80, 20 / 80)
    assert ties.tied == 75 / 80
    assert np.bincount(ties.at_top).tolist() == [0, 5, 5, 70]
    assert ties.nats[30] == pytest.approx(np.log(3)) == pytest.approx(ties.most_nats)
    assert ties.nats[75] < ties.most_nats
    assert "On 88 % of the queries all candidates have the same reward" in words(found)


def test_a_scorer_that_gives_all_the_same(collect):
    found = collect(np.full((40, 2), 0.5)).measure()
    assert "On every query all candidates have the same reward" in words(found)
    assert np.isnan(found.compared.correlation.matrix).all()
    assert json.loads(as_json(found))["correlation"]["matrix"] == [[None, None], [None, None]]


def test_twins_are_named(collect, specialists):
    reward = np.column_stack([specialists, specialists[:, 0]])
    found = collect(reward).measure()
    assert "a and c are right and wrong on the same queries (correlation 1.00)" in words(found)
    assert found.compared.correlation.matrix == pytest.approx(np.corrcoef(reward.T))


def test_a_newcomer_with_few_rewards_does_not_take_the_others_queries(collect, specialists):
    reward = np.column_stack([specialists, np.where(np.arange(80) < 10, 1.0, NAN)])
    found = collect(reward, answers=False).measure()
    assert (found.data.candidates, found.data.left_out) == (("a", "b"), ("c",))
    assert len(found.data) == 80


def disjoint():
    """Every query is rewarded for one of two candidates."""
    reward = np.full((40, 2), NAN)
    reward[:20, 0] = reward[20:, 1] = 1.0
    return reward


@pytest.mark.parametrize("reward", [disjoint(), np.ones((40, 1)), np.ones((1, 1))])
def test_without_anything_to_compare_there_is_a_report_too(collect, reward):
    found = collect(reward).measure()
    assert found.compared is None
    assert "No query has rewards of two candidates" in words(found)
    assert "complementarity" not in json.loads(as_json(found))
    assert b"cannot be compared" in report(found)


def test_a_scorer_that_could_read_nothing(collect):
    found = collect(np.full((40, 2), NAN), rewards={"reason": pl.lit("no number")}).measure()
    assert cells(found, "a") == {"unparsable": 40}
    assert "100 % of all answers have no reward because" in words(found)
    assert b"no number" in report(found)


def test_a_collection_whose_rewards_are_all_missing_has_its_page(collect):
    made = collect(np.full((40, 2), NAN), rewards={"reason": pl.lit("no number")})
    kept = report_on_collection(made.lake, dataset="d", scorers=("numeric", "exact"))
    assert kept["scorer"] == "exact"
    assert any("have no reward because" in alarm for alarm in kept["alarms"])
    assert b"no number" in made.lake.storage.read_bytes(kept["outputs"][0])


def test_the_numbers_are_plain_json(collect, specialists):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    made = collect(specialists)
    content = json.loads(as_json(made.measure()), parse_constant=refuse)
    assert content["complementarity"]["best"] in "ab"
    assert content["decided"]["tied"] == 0.2
    assert content["alarms"] == []


def test_an_unknown_scorer_is_named_with_those_there(collect, specialists):
    made = collect(specialists)
    with pytest.raises(InputError, match=r"scorer 'x'.*: exact; name one"):
        made.measure("x")


def test_a_collection_s_report_replaces_the_one_before(collect, specialists):
    made = collect(specialists)
    made.reward_by("noisy", specialists)
    for scorers, reported in ((("numeric", "noisy"), "noisy"), (("numeric",), "exact")):
        kept = report_on_collection(made.lake, dataset="d", scorers=scorers)
        assert kept["scorer"] == reported
        page, numbers = kept["outputs"]
        assert page == made.lake.storage.join("reports", "d", "quality.html")
        assert json.loads(made.lake.storage.read_bytes(numbers))["scorer"] == reported
        assert made.lake.storage.read_bytes(page).startswith(b"<!doctype html>")


def test_where_nothing_is_rewarded_there_is_no_report(tmp_path):
    lake = Lake.open(tmp_path / "empty")
    lake.handle(COMPLETIONS)
    assert report_on_collection(lake, dataset="d", scorers=("exact",)) is None


def test_a_dataset_s_folder_is_its_own_and_below_the_reports():
    names = ["a", "a/b", "a-b", "a b", "..", "../..", ".a", "ä", "/"]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(folder and "/" not in folder and not folder.startswith(".") for folder in folders)
    assert folder_name("a-b") == "a-b"

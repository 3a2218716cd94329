"""Rounds: who is fitted on what, so that no measured row has been fitted on."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.jobs.rounds import Rounds, by_split, crossed, group_crossed, without_tasks
from cluster.outcome import OutcomeMatrix


def outcomes_of(texts, tasks, splits, probability=1.0):
    n = len(texts)
    queries = pl.DataFrame(
        {
            "query_id": [f"q{row}" for row in range(n)],
            "dataset": ["d"] * n,
            "task": list(tasks),
            "split": list(splits),
            "text": list(texts),
            "sampling_probability": [probability] * n,
        },
        schema_overrides={"task": pl.String, "text": pl.String, "split": pl.String},
    )
    reward = np.random.default_rng(0).random((n, 2))
    zeros = np.zeros((n, 2))
    return OutcomeMatrix(
        queries, ("a", "b"), ("ia", "ib"), reward, zeros, zeros, zeros, zeros + 1, zeros
    )


def dataset(n=200, *, tasks="abcde"):
    rng = np.random.default_rng(1)
    texts = [" ".join(map(str, rng.integers(0, 10**6, 8))) for _ in range(n)]
    return outcomes_of(
        texts,
        [tasks[row % len(tasks)] for row in range(n)],
        [("train", "train", "validation", "test", "calibration")[row // 5 % 5] for row in range(n)][
            ::-1
        ],
    )


def ids(outcomes: OutcomeMatrix) -> set[str]:
    return set(outcomes.queries["query_id"])


def check_rounds(rounds: Rounds) -> None:
    """Every measured row once, and by no round that has fitted on its text."""
    rows = np.concatenate([one.rows for one in rounds.rounds])
    assert sorted(rows.tolist()) == list(range(len(rounds.measured)))
    for one in rounds.rounds:
        assert one.data.test.texts.equals(rounds.measured.take(one.rows).texts)
        parts = [one.data.train, one.data.validation, one.data.test]
        texts = [set(part.texts) for part in parts]
        assert sum(map(len, texts)) == len(set.union(*texts))
        assert "calibration" not in {*parts[0].queries["split"], *parts[2].queries["split"]}


def test_by_split_is_one_round():
    outcomes = dataset()
    rounds = by_split(outcomes)
    check_rounds(rounds)
    assert ids(rounds.measured) == ids(outcomes.on_splits(["test"]))
    assert not rounds.resample_tasks


def test_a_held_out_task_is_measured_and_not_fitted_on():
    outcomes = dataset()
    rounds = without_tasks(outcomes, tasks=["b"])
    check_rounds(rounds)
    assert len(rounds.rounds) == 1
    data = rounds.rounds[0].data
    assert set(data.test.tasks) == {"b"}
    assert set(data.fitted_on.tasks) == {"a", "c", "d", "e"}
    assert set(data.test.queries["split"]) == {"test"}
    assert rounds.unseen_tasks
    assert not rounds.resample_tasks  # one task has no spread of tasks


def test_tasks_are_held_out_together_or_each_in_turn():
    together = without_tasks(dataset(), tasks=["a", "d"])
    assert [set(one.data.test.tasks) for one in together.rounds] == [{"a", "d"}]
    assert together.resample_tasks
    each = without_tasks(dataset(), tasks=["each"])
    check_rounds(each)
    assert [set(one.data.test.tasks) for one in each.rounds] == [{task} for task in "abcde"]
    assert all(not set(one.data.fitted_on.tasks) & set(one.data.test.tasks) for one in each.rounds)
    assert ids(each.measured) == ids(dataset().on_splits(["test"]))


@pytest.mark.parametrize(
    ("tasks", "held_out", "words"),
    [
        ("abcde", ["x"], ("--holdout-task x", "a, b, c, d, e", "each")),
        ("ab", ["a", "b"], ("--holdout-task a, b", "no train query of another task")),
        ("a", ["each"], ("--holdout-task a", "no train query of another task")),
    ],
)
def test_tasks_that_cannot_be_held_out_are_refused(tasks, held_out, words):
    with pytest.raises(InputError) as error:
        without_tasks(dataset(tasks=tasks), tasks=held_out)
    for word in words:
        assert word in str(error.value)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.lists(st.integers(0, 60), min_size=30, max_size=80))
def test_crossed_measures_every_row_and_keeps_duplicates_together(n_folds, numbers):
    texts = [f"{'x' * (n % 7)} {n} {n * n} {n + 5} {'y' * n}" for n in numbers]
    outcomes = outcomes_of(texts, ["t"] * len(texts), ["test"] * len(texts))
    try:
        rounds = crossed(outcomes, n_folds=n_folds)
    except InputError:  # few texts may all be in one fold, or all but those of it validation
        assume(False)
    check_rounds(rounds)
    assert len(rounds.measured) == len(texts)


def test_crossed_passes_over_splits_and_leaves_calibration_alone():
    outcomes = dataset()
    rounds = crossed(outcomes, n_folds=5)
    check_rounds(rounds)
    assert ids(rounds.measured) == ids(outcomes.on_splits(["train", "validation", "test"]))
    assert (rounds.split, rounds.unseen_tasks, rounds.resample_tasks) == ("cross", False, False)
    for one in rounds.rounds:
        assert len(one.data.validation) > 0


def test_queries_picked_with_a_bias_are_not_measured():
    texts, n = [f"{'x' * n} {n}" for n in range(40)], 40
    fair = outcomes_of(texts, ["t"] * n, ["test"] * n)
    biased = outcomes_of([f"{t} z" for t in texts], ["t"] * n, ["test"] * n, probability=0.5)
    with pytest.raises(InputError, match="--cross 3"):
        crossed(biased, n_folds=3)
    assert len(crossed(fair, n_folds=3).measured) == n


@pytest.mark.parametrize("cut", [lambda rows: crossed(rows, n_folds=4), group_crossed])
def test_queries_picked_with_a_bias_are_fitted_on(cut):
    outcomes = dataset(300)
    picked = pl.col("query_id").str.slice(1).cast(int) % 3 == 0
    chance = pl.when(picked).then(0.5).otherwise(1.0)
    queries = outcomes.queries.with_columns(sampling_probability=chance)
    rounds = cut(replace(outcomes, queries=queries))
    check_rounds(rounds)
    usable = queries.filter(pl.col("split") != "calibration")
    assert ids(rounds.measured) == set(usable.filter(~picked)["query_id"])
    fitted = [one.data.train for one in rounds.rounds]
    assert set.union(*map(ids, fitted)) >= set(usable.filter(picked)["query_id"])
    for one in rounds.rounds:
        assert set(one.data.validation.queries["sampling_probability"]) == {1.0}


def test_near_duplicates_of_a_measured_row_are_not_fitted_on():
    base = "how many apples are left of the twelve that were in the basket on the first day"
    texts = [f"{base} number {n}" for n in range(12)] + dataset(60).texts.to_list()
    rounds = crossed(outcomes_of(texts, ["t"] * 72, ["test"] * 72), n_folds=3)
    fitted_near = [one.data.fitted_on.texts.str.starts_with(base).sum() for one in rounds.rounds]
    assert fitted_near == [0, 0, 0]
    assert rounds.near_duplicates >= 24


def test_group_folds_hold_out_whole_tasks():
    tasks = [f"task{n}" for n in range(23)]
    outcomes = dataset(460, tasks=tasks)
    rounds = group_crossed(outcomes)
    check_rounds(rounds)
    assert len(rounds.rounds) == 10
    for one in rounds.rounds:
        assert not set(one.data.fitted_on.tasks) & set(one.data.test.tasks)
    assert rounds.resample_tasks


def test_with_few_tasks_there_is_a_fold_for_each():
    assert len(group_crossed(dataset(tasks="abc")).rounds) == 3


def test_one_task_cannot_be_folded():
    with pytest.raises(InputError, match="--group-folds: all rows are of one task"):
        group_crossed(dataset(tasks="a"))


def test_without_a_train_split_the_way_out_is_named():
    outcomes = outcomes_of(["a b c", "d e f"], ["t", "t"], ["test", "test"])
    with pytest.raises(InputError, match=r"split 'train'.*evaluate --cross"):
        by_split(outcomes)

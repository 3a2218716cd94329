"""The harness: values computed by hand, paired intervals, controls that must show nothing."""

import json

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.evaluation.harness import evaluate, write_metrics_json
from cluster.evaluation.picture import picture
from cluster.evaluation.table import table_rows
from cluster.policies import load_policy
from cluster.routers.router import Prediction, Router, RouterState


class Told(Router):
    """A router that was told what to predict for each text."""

    method = "told"

    def __init__(self, reward, texts, candidates):
        self.candidates = candidates
        self.rows = dict(zip(texts, np.asarray(reward, dtype=float), strict=True))

    def predict(self, texts: pl.Series) -> Prediction:
        reward = np.array([self.rows[text] for text in texts])
        return Prediction(reward=reward, completion_tokens=np.full(reward.shape, np.nan))

    def state(self) -> RouterState:
        raise NotImplementedError

    @classmethod
    def from_state(cls, state, *, candidates):
        raise NotImplementedError


def told(test, reward, candidates=None) -> Told:
    return Told(reward, test.texts, candidates or test.candidates)


def run(train, test, routers, **kwargs):
    settings = {"prices": {}, "policy": load_policy("best"), "seed": 0, "dataset": "d"}
    return evaluate(train, test, routers=routers, **{"resamples": 500, **settings, **kwargs})


def value(evaluation, method: str, metric: str, *, task: str = "all", column: str = "value"):
    rows = evaluation.rows.filter(
        (pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("task") == task)
    )
    assert rows.height == 1, f"{method} {metric}: {rows.height} rows"
    return rows[column][0]


# Task x: a is right 3 of 4 times; task y (2 rows): b is right always, a never.
REWARD = [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]
TASKS = ["x"] * 4 + ["y"] * 2
COST = [[1.0, 3.0]] * 6
TASKS_OF_8 = ["x"] * 5 + ["y"] * 3


def test_values_by_hand(make) -> None:
    train, test = make(REWARD, TASKS, split="train"), make(REWARD, TASKS, cost=COST)
    right = told(test, [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]])
    found = run(train, test, {"r": right})
    assert value(found, "candidate:a", "accuracy", task="x") == pytest.approx(0.75)
    assert value(found, "candidate:a", "macro_accuracy") == pytest.approx(0.375)
    assert value(found, "candidate:a", "micro_accuracy") == pytest.approx(0.5)
    assert value(found, "best_single", "macro_accuracy") == pytest.approx(0.625)
    assert value(found, "task_lookup", "macro_accuracy") == pytest.approx(0.875)
    assert value(found, "oracle", "macro_accuracy") == pytest.approx(1.0)
    assert value(found, "random", "macro_accuracy") == pytest.approx(0.5)
    assert value(found, "r", "macro_accuracy") == pytest.approx(0.875)
    assert value(found, "r", "oracle_gap_closed") == pytest.approx(0.25 / 0.375)
    assert value(found, "r", "lift_over_task_lookup") == pytest.approx(0.0)
    assert value(found, "candidate:a", "lift_over_task_lookup", task="x") == pytest.approx(0.0)
    assert value(found, "candidate:a", "lift_over_task_lookup", task="y") == pytest.approx(-1.0)
    assert value(found, "r", "regret") == pytest.approx(0.125)
    assert value(found, "r", "route_share:a") == pytest.approx(2 / 6)
    # Task x: (1 + 1 + 3 + 3) / 4 = 2 USD, task y: 3 USD.
    assert value(found, "r", "mean_cost_usd") == pytest.approx(2.5)
    # Half a, half... the mix that costs 2.5 USD sends 3 of 4 to b: 0.25 * 0.375 + 0.75 * 0.625.
    assert value(found, "cost_matched_mix:r", "macro_accuracy") == pytest.approx(0.5625)
    assert value(found, "r", "lift_over_cost_matched_mix") == pytest.approx(0.875 - 0.5625)


def test_the_same_choices_differ_by_exactly_nothing(make) -> None:
    train, test = make(REWARD, TASKS, split="train"), make(REWARD, TASKS)
    always_b = told(test, [[0, 1]] * 6)
    found = run(train, test, {"r": always_b, "champion": told(test, [[0, 1]] * 6)})
    for metric in ("lift_over_best_single", "lift_over_champion"):
        for column in ("value", "ci_low", "ci_high"):
            assert value(found, "r", metric, column=column) == 0.0


def test_a_real_gain_is_seen_and_shuffled_labels_show_none(make) -> None:
    rng = np.random.default_rng(0)
    reward = (rng.random((2000, 2)) < [[0.6, 0.5]]).astype(float)
    tasks = rng.choice(["x", "y"], 2000)
    train, test = make(reward, tasks, split="train"), make(reward, tasks)
    knows, shuffled = told(test, reward), told(test, rng.permutation(reward))
    found = run(train, test, {"knows": knows, "shuffled": shuffled})
    assert value(found, "knows", "lift_over_best_single", column="ci_low") > 0.1
    assert value(found, "shuffled", "lift_over_best_single", column="ci_low") < 0


def test_candidates_may_come_in_another_order(make) -> None:
    train, test = make(REWARD, TASKS, split="train"), make(REWARD, TASKS)
    swapped = told(test, np.asarray(REWARD)[:, ::-1], candidates=("b", "a"))
    assert value(run(train, test, {"r": swapped}), "r", "macro_accuracy") == pytest.approx(1.0)


def test_incomplete_queries_are_left_out_and_counted(make) -> None:
    train = make(REWARD, TASKS, split="train")
    holes = np.array(REWARD, dtype=float)
    holes[0, 1] = np.nan
    test = make(holes, TASKS)
    found = run(train, test, {})
    assert found.incomplete == {"x": 1}
    assert value(found, "candidate:a", "accuracy", task="x") == pytest.approx(2 / 3)
    assert value(found, "candidate:a", "accuracy", task="x", column="n") == 3


def test_what_cannot_be_compared_is_refused(make) -> None:
    train, test = make(REWARD, TASKS, split="train"), make(REWARD, TASKS)
    with pytest.raises(InputError, match="baseline"):
        run(train, test, {"oracle": told(test, REWARD)})
    empty = make(np.full((2, 2), np.nan), ["x", "y"])
    with pytest.raises(InputError, match="none of the 2 test queries"):
        run(train, empty, {})
    with pytest.raises(InputError, match="candidates differ"):
        run(train, make([[1, 0, 0]], ["x"]), {})


def test_the_files_and_the_table_say_what_the_rows_say(make, tmp_path) -> None:
    train, test = make(REWARD, TASKS, split="train"), make(REWARD, TASKS, cost=COST)
    found = run(train, test, {"r": told(test, REWARD)})
    write_metrics_json(found.rows, uri=str(tmp_path / "metrics.json"))
    rows = json.loads((tmp_path / "metrics.json").read_text())
    assert rows == found.rows.to_dicts()
    table = {row.method: row for row in table_rows(found.rows)}
    assert table["r"].macro_accuracy == pytest.approx(1.0)
    assert table["r"].usd_per_1000 == pytest.approx(1000 * value(found, "r", "mean_cost_usd"))
    assert list(table)[-1] == "oracle"
    assert picture(found).startswith(b"\x89PNG")


@pytest.mark.parametrize(("strong", "weak"), [("b", "a"), ("a", "b")])
def test_a_pair_the_wrong_way_round_is_told(make, strong, weak) -> None:
    """`b` is right two times of three, `a` once."""
    rows = make([[0, 1], [0, 1], [1, 0]] * 20, ["t"] * 60)
    found = run(rows, rows, {}, strong=strong, weak=weak)
    is_right_way = strong == "b"
    assert ("apgr" in found.rows["metric"]) == is_right_way
    assert any(alarm.startswith("no PGR") for alarm in found.alarms) != is_right_way


def test_aiq_by_hand_from_choices_to_the_area(make) -> None:
    train = make(REWARD, TASKS, cost=COST, split="train")
    test = make(REWARD, TASKS, cost=COST)
    found = run(train, test, {"r": told(test, REWARD)})
    # Candidates: .375 at 1 USD, .625 at 3 USD; mixed by lot, the middle.
    assert value(found, "cost_matched_mix", "aiq") == pytest.approx(0.5)
    # From .375 at 1 USD up to everything right at (1.5 + 3) / 2 = 2.25 USD, then level.
    area = 1.25 * (0.375 + 1) / 2 + 0.75 * 1
    assert value(found, "r", "aiq") == pytest.approx(area / 2)
    assert value(found, "r", "aiq_lift_over_mix") == pytest.approx(area / 2 - 0.5)


def test_the_interval_over_held_out_tasks_by_hand(make) -> None:
    """Two tasks, 0 and 1: drawn twice with replacement their mean is 0, 1/2, 1/2 or 1."""
    reward = [[1, 0]] * 5 + [[0, 1]] * 3
    train, test = make(reward, TASKS_OF_8, split="train"), make(reward, TASKS_OF_8)
    found = run(train, test, {}, held_out_tasks=True, resamples=4000)
    for column, expected in (("value", 0.5), ("ci_low", 0.0), ("ci_high", 1.0)):
        assert value(found, "candidate:a", "macro_accuracy", column=column) == expected
    # Over queries each task is what it is, without any doubt.
    sure = run(train, test, {}, resamples=400)
    for column in ("value", "ci_low", "ci_high"):
        assert value(sure, "candidate:a", "macro_accuracy", column=column) == 0.5
    # The whole task comes or goes: of 8 queries 0, 5 of 8, or all.
    assert value(found, "candidate:a", "micro_accuracy") == 5 / 8
    assert value(found, "candidate:a", "micro_accuracy", column="ci_low") == 0.0


def test_lift_over_task_lookup_within_a_task_by_hand(make) -> None:
    """Half of task x is for b; the lookup always takes a there."""
    reward = [[1, 0]] * 3 + [[0, 1]] * 2 + [[0, 1]] * 3
    train, test = make(reward, TASKS_OF_8, split="train"), make(reward, TASKS_OF_8)
    found = run(train, test, {"r": told(test, reward), "a": told(test, [[1, 0]] * 8)})
    assert value(found, "task_lookup", "accuracy", task="x") == pytest.approx(0.6)
    assert value(found, "r", "lift_over_task_lookup", task="x") == pytest.approx(0.4)
    assert value(found, "r", "lift_over_task_lookup", task="y") == pytest.approx(0.0)
    assert value(found, "a", "lift_over_task_lookup", task="y") == pytest.approx(-1.0)
    assert value(found, "r", "lift_over_task_lookup") == pytest.approx(0.2)
    # Oracle 1, best single b (.4 + 1) / 2; r closes what lies between.
    assert value(found, "r", "oracle_gap_closed") == pytest.approx(1.0)
    assert value(found, "a", "oracle_gap_closed") == pytest.approx((0.3 - 0.7) / (1 - 0.7))

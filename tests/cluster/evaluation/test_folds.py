"""Predictions of several fits, measured once; routers that read an answer."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.evaluation.folds import Fold, keep_rows, pool, predict
from cluster.evaluation.harness import evaluate, evaluate_predictions
from cluster.policies import load_policy
from cluster.routers.best_single import BestSingle
from cluster.routers.prompt_length import PromptLength
from cluster.routers.router import Prediction, Router

SETTINGS = {"prices": {}, "seed": 0, "dataset": "d", "resamples": 100}
BEST = load_policy("best")


def value(evaluation, method: str, metric: str) -> float:
    rows = evaluation.rows.filter(
        (pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("task") == "all")
    )
    assert rows.height == 1, f"{method} {metric}: {rows.height} rows"
    return rows["value"][0]


def methods_with(evaluation, metric: str) -> list[str]:
    return evaluation.rows.filter(pl.col("metric") == metric)["method"].to_list()


def two_folds(outcomes) -> list[Fold]:
    odd = np.arange(len(outcomes)) % 2 == 1
    return [Fold(outcomes.take(~each), np.flatnonzero(each)) for each in (odd, ~odd)]


def out_of_fold(outcomes, folds, method) -> Prediction:
    return pool(
        folds,
        [
            predict(method.fit(fold.train, seed=0), outcomes=outcomes.take(fold.rows))
            for fold in folds
        ],
    )


@pytest.fixture
def pair(make):
    rng = np.random.default_rng(0)
    strong = rng.random(400) < 0.8
    weak = rng.random(400) < 0.5
    return make(np.column_stack([weak, strong]), rng.choice(["x", "y"], 400))


def test_pooled_parts_are_back_in_their_rows(make) -> None:
    outcomes = make(np.random.default_rng(0).random((7, 2)), ["x"] * 7)
    folds = two_folds(outcomes)
    parts = [
        Prediction(outcomes.take(fold.rows).reward, outcomes.take(fold.rows).reward + 1)
        for fold in folds
    ]
    found = pool(folds, parts)
    assert np.array_equal(found.reward, outcomes.reward)
    assert np.array_equal(found.completion_tokens, outcomes.reward + 1)


def test_one_fold_is_what_evaluate_does(pair) -> None:
    train, test = pair.take(np.arange(200)), pair.take(np.arange(200, 400))
    router = PromptLength().fit(train, seed=0)
    once = evaluate(train, test, routers={"length": router}, policy=BEST, **SETTINGS)
    pooled = evaluate_predictions(
        test, folds=[Fold(train, np.arange(200))], policy=BEST, **SETTINGS,
        predictions={"length": predict(router, outcomes=test)},
    )  # fmt: skip
    assert once.rows.equals(pooled.rows)


def test_baselines_are_fitted_in_every_fold(make) -> None:
    # Odd rows: b is right; even rows: a is. Fitted on the others, best single is always wrong.
    reward = np.eye(2)[np.arange(20) % 2]
    outcomes = make(reward, ["x"] * 20)
    found = evaluate_predictions(
        outcomes, folds=two_folds(outcomes), predictions={}, policy=BEST, **SETTINGS
    )
    assert value(found, "best_single", "macro_accuracy") == 0.0
    assert value(found, "task_lookup", "macro_accuracy") == 0.0
    assert value(found, "oracle", "macro_accuracy") == 1.0


def test_a_router_that_says_the_same_of_everything_is_random_over_folds(pair) -> None:
    pair = replace(pair, queries=pair.queries.with_columns(task=pl.lit("x")))
    folds = two_folds(pair)
    found = evaluate_predictions(
        pair, folds=folds, policy=BEST, **SETTINGS,
        predictions={"constant": out_of_fold(pair, folds, BestSingle())},
    )  # fmt: skip
    assert value(found, "constant", "apgr") == pytest.approx(0.5, abs=1e-12)
    assert value(found, "random", "apgr") == pytest.approx(0.5, abs=1e-12)


def test_task_lookup_is_random_where_every_task_is_new(pair) -> None:
    sizes = np.where(np.arange(400) < 300, "x", np.where(np.arange(400) < 360, "y", "z"))
    pair = replace(pair, queries=pair.queries.with_columns(task=pl.Series(sizes)))
    folds = [Fold(pair.take(sizes != task), np.flatnonzero(sizes == task)) for task in "xyz"]
    found = evaluate_predictions(pair, folds=folds, predictions={}, policy=BEST, **SETTINGS)
    assert value(found, "task_lookup", "apgr") == pytest.approx(0.5, abs=1e-12)


def test_incomplete_rows_fall_out_of_their_folds(pair) -> None:
    holes = pair.reward.copy()
    holes[3, 0] = np.nan
    outcomes = replace(pair, reward=holes)
    folds = two_folds(outcomes)
    said = out_of_fold(outcomes, folds, PromptLength())
    found = evaluate_predictions(
        outcomes, folds=folds, predictions={"length": said}, policy=BEST, **SETTINGS
    )
    assert len(found.outcomes) == 399
    assert sum(found.incomplete.values()) == 1
    kept = keep_rows(folds, outcomes.mask.all(axis=1))
    assert sorted(np.concatenate([fold.rows for fold in kept]).tolist()) == list(range(399))
    assert np.array_equal(found.predictions["length"].reward, said.reward[outcomes.mask.all(1)])


def test_every_row_must_be_measured_once(pair) -> None:
    folds = two_folds(pair)
    for wrong in (folds[:1], [*folds, folds[0]], []):
        with pytest.raises(InputError, match="each of the 400 once"):
            evaluate_predictions(pair, folds=wrong, predictions={}, policy=BEST, **SETTINGS)


def test_pair_rows_and_curves(pair) -> None:
    knows = Prediction(pair.reward, np.full(pair.reward.shape, np.nan))
    found = evaluate_predictions(
        pair, folds=[Fold(pair, np.arange(400))], predictions={"knows": knows}, policy=BEST,
        **SETTINGS,
    )  # fmt: skip
    assert (found.pair.strong, found.pair.weak) == ("b", "a")
    assert value(found, "candidate:b", "pgr") == 1.0
    assert value(found, "candidate:a", "pgr") == 0.0
    assert value(found, "knows", "apgr") == value(found, "oracle", "apgr") > 1
    assert "apgr_lift_over_prompt_length" not in found.rows["metric"].to_list()
    drawn = found.curves["knows"]
    assert drawn.unit == "strong_share"
    assert drawn.quality[[0, -1]] == pytest.approx(pair.reward.mean(axis=0))
    assert set(found.pair_curves) == {"knows", "random", "task_lookup", "oracle"}


def test_a_pair_may_be_turned_around_or_be_none(pair) -> None:
    named = {"folds": [Fold(pair, np.arange(400))], "predictions": {}, "policy": BEST, **SETTINGS}
    turned = evaluate_predictions(pair, strong="a", weak="b", **named)
    assert turned.pair.strong == "a"
    assert not methods_with(turned, "apgr")
    assert not methods_with(turned, "pgr")
    with pytest.raises(InputError, match="strong candidate 'gpt'"):
        evaluate_predictions(pair, strong="gpt", weak="b", **named)


def test_held_out_tasks_widen_the_interval_of_a_pair_too(make) -> None:
    rng = np.random.default_rng(0)
    tasks = np.repeat(list("abcdefgh"), 60)
    # In half of the tasks the longer text gains, in the other half the shorter one.
    long = rng.random(480) < 0.5
    strong = rng.random(480) < np.where(long == (tasks > "d"), 0.9, 0.5)
    outcomes = make(np.column_stack([rng.random(480) < 0.4, strong]), tasks)
    said = Prediction(np.column_stack([np.zeros(480), long]), np.full((480, 2), np.nan))
    widths = []
    for held_out in (False, True):
        found = evaluate_predictions(
            outcomes, folds=[Fold(outcomes, np.arange(480))], predictions={"long": said},
            policy=BEST, held_out_tasks=held_out, **SETTINGS,
        )  # fmt: skip
        row = found.rows.filter((pl.col("method") == "long") & (pl.col("metric") == "apgr"))
        widths.append(row["ci_high"][0] - row["ci_low"][0])
    assert widths[1] > 1.3 * widths[0]


def test_budget_curves_and_aiq(make) -> None:
    rng = np.random.default_rng(0)
    reward = np.column_stack([rng.random(300) < 0.5, rng.random(300) < 0.9]).astype(float)
    outcomes = make(reward, ["x"] * 300, cost=np.tile([1.0, 4.0], (300, 1)))
    knows = Prediction(reward, np.full(reward.shape, np.nan))
    found = evaluate_predictions(
        outcomes, folds=[Fold(outcomes, np.arange(300))], predictions={"knows": knows},
        policy=BEST, **SETTINGS,
    )  # fmt: skip
    assert set(found.curves) == {"cost_matched_mix", "knows"}
    assert found.curves["knows"].unit == "usd"
    middle = reward.mean(axis=0).mean()
    assert value(found, "cost_matched_mix", "aiq") == pytest.approx(middle)
    gained = value(found, "knows", "aiq") - middle
    assert value(found, "knows", "aiq_lift_over_mix") == pytest.approx(gained)
    assert gained > 0.1
    assert methods_with(found, "aiq_lift_over_mix") == ["knows"]


class ReadsTheAnswer(Router):
    """Keeps the answer of `a` where it says so, and else sends the query to `b`."""

    method = "reads"
    candidates = ("a", "b")
    reads_answer_of = "a"

    def predict(self, texts):
        raise AssertionError("it decides after the answer")

    def predict_after(self, texts, answers):
        good = (answers == "good").to_numpy()
        return Prediction(np.column_stack([good, ~good]).astype(float), np.full((len(good), 2), 1))

    def state(self):
        raise NotImplementedError

    @classmethod
    def from_state(cls, state, *, candidates):
        raise NotImplementedError


def with_answers(outcomes, column):
    return replace(outcomes, answers=pl.DataFrame({"a": column, "b": ["x"] * len(column)}))


def test_an_answer_that_is_read_is_paid_for(make) -> None:
    reward = [[1, 1], [0, 1], [0, 1], [1, 0]]
    outcomes = with_answers(
        make(reward, ["x"] * 4, cost=[[1.0, 10.0]] * 4), ["good", "bad", "bad", "good"]
    )
    found = evaluate(outcomes, outcomes, routers={"r": ReadsTheAnswer()}, policy=BEST, **SETTINGS)
    assert value(found, "r", "macro_accuracy") == 1.0
    assert value(found, "r", "route_share:b") == 0.5
    # Four answers of a, two of b.
    assert value(found, "r", "mean_cost_usd") == pytest.approx((4 + 20) / 4)
    # The mix for 6 USD: 5 of 9 to b.
    assert value(found, "cost_matched_mix:r", "mean_cost_usd") == pytest.approx(6)


def test_a_reader_without_answers_is_refused(make) -> None:
    outcomes = make([[1, 1], [0, 1]], ["x"] * 2)
    with pytest.raises(InputError, match="reads the answer of 'a', and there are no answers"):
        predict(ReadsTheAnswer(), outcomes=outcomes)
    with pytest.raises(InputError, match="missing for query 'test-1'"):
        predict(ReadsTheAnswer(), outcomes=with_answers(outcomes, ["good", None]))
    named = {"folds": [Fold(outcomes, np.arange(2))], "policy": BEST, **SETTINGS}
    said = Prediction(outcomes.reward, outcomes.reward)
    with pytest.raises(InputError, match="reads the answer of 'z', which has no outcomes"):
        evaluate_predictions(outcomes, predictions={"r": said}, reads={"r": "z"}, **named)


def test_methods_that_run_everybody_pay_for_everybody(make) -> None:
    reward = [[1, 0, 1], [0, 1, 1]]
    outcomes = make(reward, ["x", "x"], cost=[[1.0, 2.0, 3.0]] * 2)
    outcomes = replace(
        outcomes, answers=pl.DataFrame({"a": ["B", "C"], "b": ["C", "B"], "c": ["B", "B"]})
    )
    ranking = replace(outcomes, reward=np.array([[0.1, 0.9, 0.2], [0.1, 0.9, 0.2]]))
    found = evaluate(outcomes, outcomes, routers={}, policy=BEST, ranking=ranking, **SETTINGS)
    assert value(found, "voting", "macro_accuracy") == 1.0
    assert value(found, "rmr", "macro_accuracy") == 0.5
    for method in ("voting", "rmr"):
        assert value(found, method, "mean_cost_usd") == pytest.approx(6.0)
    with pytest.raises(InputError, match="'voting' is a baseline"):
        evaluate_predictions(
            outcomes, folds=[Fold(outcomes, np.arange(2))], policy=BEST, **SETTINGS,
            predictions={"voting": Prediction(outcomes.reward, outcomes.reward)},
        )  # fmt: skip

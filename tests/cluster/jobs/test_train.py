"""The train job, run in this process: what data it takes, what it refuses, what it keeps."""

import math
from typing import ClassVar

import deltalake
import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.run import Part, Run
from cluster.jobs.train import TrainSpec, train
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES, REWARDS, TAGGERS, TAGS
from cluster.routers import fit as fit_module
from cluster.routers.best_single import BestSingleRouter
from cluster.routers.checkpoint import load_router
from cluster.routers.gradient import HISTORY_SCHEMA, GradientMethod, Trained
from cluster.routers.knn import Knn
from cluster.routers.router import Router


@pytest.fixture
def spec_for(versions_of):
    def make(lake: str, **changes) -> TrainSpec:
        settings = {
            "lake": lake,
            "methods": ("knn",),
            "dataset": "toy",
            "scorer": "",
            "normalisation": "none",
            "candidates": (),
            "prices": {},
            "champion": None,
            "seed": 0,
            "inputs": versions_of(lake),
        }
        return TrainSpec(**(settings | changes))

    return make


@pytest.fixture
def trained(make_lake, spec_for):
    """The manifest of training on a table."""

    def run(rows: dict, **changes) -> dict:
        spec = spec_for(make_lake(toy=rows), **changes)
        return train(spec, Run.of(spec))

    return run


def test_given_settings_are_not_chosen(trained, scores) -> None:
    manifest = trained(scores(), settings={"knn": {"k": 7}})
    router = manifest["routers"][0]
    assert load_router(router["checkpoint"], version=router["version"]).k == 7


def test_settings_are_chosen_by_cross_validation_in_folds(trained, scores) -> None:
    rows = scores()
    split = trained(rows)["routers"][0]
    folded = trained(rows, folds=4)["routers"][0]
    assert folded["validation_macro_reward"] != split["validation_macro_reward"]


def test_the_same_work_comes_to_the_same_routers(trained, scores) -> None:
    rows = scores()
    first, second = (trained(rows, methods=("knn", "cluster_table"), folds=3) for _ in range(2))
    assert first == second


def test_a_taggers_tags_reach_the_methods(make_lake, spec_for, scores, monkeypatch) -> None:
    lake = make_lake(toy=scores())
    queries = Lake.open(lake).read(QUERIES).select("query_id")
    named = pl.DataFrame({"tagger_id": ["t1"], "name": ["colours"], "spec": ["{}"]})
    tags = queries.with_columns(tagger_id=pl.lit("t1"), tag=pl.lit("red"))
    append_new(named, lake=Lake.open(lake), table=TAGGERS)
    append_new(tags, lake=Lake.open(lake), table=TAGS)
    seen = []

    def fit(name, *, train, **more):
        seen.append(train.tags.to_list())
        return fit_module.fit_method(name, train=train, **more)

    monkeypatch.setattr("cluster.jobs.fitting.fit_method", fit)
    spec = spec_for(lake, tagger="colours")
    train(spec, Run.of(spec))
    assert seen == [[["red"]] * len(seen[0])]


class Steps(GradientMethod):
    """Trains for three steps that lead nowhere, and tells of them."""

    name: ClassVar[str] = "steps"
    router: ClassVar[type[Router]] = BestSingleRouter

    def train(self, outcomes, *, validation, seed, context):
        assert context.workers == 2
        assert context.name
        assert context.storage.endswith("/training")
        for step in range(3):
            context.tell({"method": "steps", "epoch": step, "epochs": 5, "train_loss": 1 / 3})
        mean = np.nanmean(outcomes.reward, axis=0)
        router = BestSingleRouter(outcomes.candidates, reward=mean, completion_tokens=mean)
        notes = [(step, "validation", "loss", 0.5) for step in range(3)]
        return Trained(router, pl.DataFrame(notes, schema=HISTORY_SCHEMA, orient="row"))


def test_training_by_gradient_tells_how_far_it_is_and_keeps_its_history(
    make_lake, spec_for, scores, monkeypatch
) -> None:
    monkeypatch.setattr(fit_module, "load_plugin", lambda kind, name: Steps)
    spec = spec_for(make_lake(toy=scores()), methods=("steps",), workers=2)
    run = Run.of(spec)
    told = []
    monkeypatch.setattr(Run, "progress", lambda self, part, now=False: told.append(part))
    manifest = train(spec, run)
    assert Part("methods: steps", 2, 5, unit="epochs at most", note="train loss 0.3333") in told
    history = pl.read_parquet(manifest["history"])
    assert history.columns == ["method", *HISTORY_SCHEMA]
    assert history["epoch"].to_list() == [0, 1, 2]
    assert [(row["training"], row["epochs"]) for row in manifest["training"]] == [("steps", 2)]


def test_without_training_by_gradient_there_is_no_history(trained, scores) -> None:
    assert trained(scores())["history"] is None


# --- data that is odd, and data that is refused ---


def test_one_candidate_is_always_chosen(trained, scores) -> None:
    rows = {name: values for name, values in scores().items() if name not in ("large", "both")}
    manifest = trained(rows, methods=("knn", "cluster_table"))
    for router in manifest["routers"]:
        assert router["metrics"]["lift_over_best_single"] == 0
        assert "oracle_gap_closed" not in router["metrics"]


def test_one_task_is_enough(trained, scores) -> None:
    manifest = trained(
        scores() | {"task": ["only"] * 240}, methods=("knn", "cluster_table"), folds=3
    )
    assert all(0 <= router["metrics"]["macro_accuracy"] <= 1 for router in manifest["routers"])


def test_equal_scores_teach_nothing_and_break_nothing(trained, scores) -> None:
    same = {name: [0.5] * 240 for name in ("small", "large", "both")}
    manifest = trained(scores() | same, methods=("knn", "cluster_table"), folds=3)
    for router in manifest["routers"]:
        assert router["metrics"]["macro_accuracy"] == 0.5
        assert router["metrics"]["lift_over_best_single"] == 0


def test_missing_cells_are_masked_in_train_and_counted_in_test(trained, scores) -> None:
    rows = scores()
    rng = np.random.default_rng(5)
    for name in ("small", "large"):
        rows[name] = [None if rng.random() < 0.3 else value for value in rows[name]]
    manifest = trained(rows, methods=("knn", "cluster_table"), folds=3)
    incomplete = sum(manifest["left_out"]["incomplete_test_queries"].values())
    n_test = rows["split"].count("test")
    assert 0 < incomplete < n_test
    assert manifest["rows"]["test"] == n_test - incomplete
    assert all(math.isfinite(router["metrics"]["macro_accuracy"]) for router in manifest["routers"])


def test_rewards_that_are_not_numbers_count_as_missing(make_lake, spec_for, scores) -> None:
    rows = scores()
    lake = make_lake(toy=rows)
    spec = spec_for(lake)
    _put_nan_rewards(lake)
    manifest = train(spec.model_copy(update={"inputs": {}}), Run.of(spec))
    assert sum(manifest["left_out"]["incomplete_test_queries"].values()) > 0


def _put_nan_rewards(lake: str) -> None:
    """Overwrite every seventh reward by NaN, as a broken scorer would have left it."""
    opened = Lake.open(lake)
    frame = opened.read(REWARDS).sort("query_id", "candidate_id")
    nan = pl.when(pl.int_range(pl.len()) % 7 == 0).then(float("nan")).otherwise(pl.col("value"))
    deltalake.write_deltalake(
        opened.storage.join("rewards"), frame.with_columns(value=nan).to_arrow(), mode="overwrite"
    )


def test_a_candidate_that_train_does_not_know_is_refused_by_name(trained, scores) -> None:
    rows = scores()
    rows["large"] = [
        value if split == "test" else None
        for value, split in zip(rows["large"], rows["split"], strict=True)
    ]
    with pytest.raises(InputError, match=r"'large' has no reward in any training row.*leave"):
        trained(rows)


def test_a_candidate_that_test_does_not_know_is_refused(trained, scores) -> None:
    rows = scores()
    rows["large"] = [
        None if split == "test" else value
        for value, split in zip(rows["large"], rows["split"], strict=True)
    ]
    with pytest.raises(InputError, match="leave out the candidate"):
        trained(rows)
    manifest = trained(rows, candidates=("small", "both"))
    assert load_router(manifest["routers"][0]["checkpoint"]).candidates == ("small", "both")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_dataset_without_rows_to_fit_or_to_test_on_is_refused(trained, scores, split) -> None:
    rows = scores()
    other = {"train": "test", "test": "train"}[split]
    rows["split"] = [other if one in (split, "validation") else one for one in rows["split"]]
    with pytest.raises(InputError, match=f"no query of split '{split}'"):
        trained(rows)


class LateColumn(GradientMethod):
    """Bets on the column that validation likes, as if it had been trained."""

    name: ClassVar[str] = "late_column"
    router: ClassVar[type[Router]] = BestSingleRouter

    def train(self, outcomes, *, validation, seed, context):
        mean = np.nanmean(validation.reward, axis=0)
        history = pl.DataFrame(schema=HISTORY_SCHEMA)
        router = BestSingleRouter(outcomes.candidates, reward=mean, completion_tokens=mean)
        return Trained(router, history)


def test_methods_are_compared_on_the_same_validation_rows(trained, scores, monkeypatch) -> None:
    """Who always chooses the same candidate is worth the same, however it was validated."""
    rows = scores(480)
    load_plugin = fit_module.load_plugin

    def load(kind, *, name):
        return LateColumn if name == "late_column" else load_plugin(kind, name=name)

    monkeypatch.setattr(fit_module, "load_plugin", load)
    # The best everywhere, and better still on train rows: to be valued on them too would show.
    rows["both"] = [
        {"train": 1.0}.get(split, 0.9 + value / 20)
        for value, split in zip(rows["both"], rows["split"], strict=True)
    ]
    methods = ("best_single", "late_column", "knn")
    folded, split = (
        {
            router["method"]: router["validation_macro_reward"]
            for router in trained(rows, methods=methods, folds=folds)["routers"]
        }
        for folds in (4, 0)
    )
    assert folded["best_single"] == folded["late_column"] == split["best_single"]
    assert 0.9 < folded["late_column"] < 1


@pytest.fixture
def trained_without_knn(trained, monkeypatch):
    """As `trained`, where no knn may be fitted."""
    monkeypatch.setattr(Knn, "fit_vectors", lambda *_, **__: pytest.fail("knn was fitted"))
    return trained


@pytest.mark.parametrize(
    ("change", "methods", "words"),
    [
        ({}, ("knn", "gain", "post_answer"), ("gain, post_answer: a pair is asked for",)),
        ({"small": 7.0}, ("knn", "multihead"), ("multihead: query", "reward 7, expected 0 to 1")),
        ({"small": 7.0}, ("knn", "mf"), ("mf: query", "--normalisation min_max")),
        ({"small": 7.0}, ("knn", "routerdc"), ("routerdc: query", "expected 0 to 1")),
        ({"small": 7.0}, ("knn", "similarity_weighted"), ("similarity_weighted", "differ by")),
        ({}, ("knn", "causal_lm"), ("causal_lm", "setting 'model' is empty")),
        ({}, ("knn", "bert"), ("bert: a pair is asked for and there are 3 candidates",)),
    ],
)
def test_what_a_method_needs_is_told_before_another_is_fitted(
    change, methods, words, trained_without_knn, scores
) -> None:
    rows = scores()
    for name, value in change.items():
        # Of the last train row: the others are what they were.
        place = max(p for p, split in enumerate(rows["split"]) if split == "train")
        rows[name][place] = value
    with pytest.raises(InputError) as error:
        trained_without_knn(rows, methods=methods)
    for word in words:
        assert word in str(error.value)


def test_answers_that_a_method_would_read_are_asked_for_first(trained_without_knn, scores) -> None:
    pair = {"strong": "large", "weak": "small"}
    with pytest.raises(InputError, match=r"post_answer: .*reads the answers of 'small'"):
        trained_without_knn(
            scores(), methods=("knn", "post_answer"), settings={"post_answer": pair}
        )

"""The evaluate job, run in this process: who is measured on what, and what is written."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.evaluate import EvaluateSpec, run_evaluation
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec, train
from cluster.routers.gain import Gain
from cluster.routers.knn import Knn


@pytest.fixture
def spec_for(versions_of, tmp_path):
    def make(lake: str, **changes) -> EvaluateSpec:
        settings = {
            "lake": lake,
            "methods": ("knn",),
            "routers": {},
            "dataset": "toy",
            "train_dataset": "toy",
            "scorer": "",
            "train_scorer": "",
            "normalisation": "none",
            "candidates": (),
            "prices": {},
            "output": str(tmp_path / "out"),
            "seed": 0,
            "inputs": versions_of(lake),
            "settings": {"knn": {"k": 20}},
        }
        return EvaluateSpec(**(settings | changes))

    return make


@pytest.fixture
def evaluated(make_lake, spec_for):
    """Manifest and metrics of an evaluation on a table."""

    def run(rows: dict, **changes) -> tuple[dict, list[dict]]:
        spec = spec_for(make_lake(toy=rows), **changes)
        manifest = run_evaluation(spec, Run.of(spec))
        return manifest, json.loads(Path(spec.output, "metrics.json").read_text())

    return run


def value(rows: list[dict], *, method: str, metric: str, task: str = "all") -> float:
    found = [r for r in rows if (r["method"], r["metric"], r["task"]) == (method, metric, task)]
    assert len(found) == 1, (method, metric, task)
    return found[0]["value"]


def tasks_of(rows: list[dict]) -> set[str]:
    return {row["task"] for row in rows} - {"all"}


def test_the_output_holds_what_the_manifest_names(evaluated, scores) -> None:
    manifest, rows = evaluated(scores())
    assert {Path(uri).name for uri in manifest["outputs"]} >= {
        "metrics.json",
        "table.json",
        "cost_quality.png",
        "report.html",
    }
    assert all(Path(uri).stat().st_size for uri in manifest["outputs"])
    assert Path(manifest["picture"]).name == "cost_quality.png"
    keys = ["dataset", "task", "split", "method", "metric", "value", "ci_low", "ci_high", "n"]
    assert all(list(row) == keys for row in rows)
    assert {row["split"] for row in rows} == {"test"}
    assert manifest["rounds"] == 1


def test_the_evaluate_job_and_the_train_job_agree(make_lake, spec_for, scores, versions_of) -> None:
    lake = make_lake(toy=scores())
    spec = spec_for(lake, settings={}, methods=("knn", "cluster_table"))
    manifest = run_evaluation(spec, Run.of(spec))
    shared = spec.model_dump(include=set(TrainSpec.model_fields) - {"champion"})
    trained = TrainSpec(**shared, champion=None)
    routers = train(trained, Run.of(trained))["routers"]
    assert {router["method"]: router["metrics"] for router in routers} == manifest["methods"]


def test_a_registered_router_is_measured_as_it_is(make_lake, spec_for, scores) -> None:
    lake = make_lake(toy=scores())
    spec = spec_for(lake)
    shared = spec.model_dump(include=set(TrainSpec.model_fields) - {"champion"})
    trained = TrainSpec(**shared, champion=None)
    router = train(trained, Run.of(trained))["routers"][0]
    named = {"old": (router["version"], router["checkpoint"])}
    both = spec_for(lake, routers=named)
    methods = run_evaluation(both, Run.of(both))["methods"]
    assert methods["old"] == methods["knn"]


def turned(rows: dict) -> dict:
    """The same table with train and test exchanged."""
    other = {"train": "test", "test": "train"}
    return rows | {"split": [other.get(split, split) for split in rows["split"]]}


def test_no_router_is_measured_on_queries_it_was_fitted_on(
    make_lake, spec_for, scores, versions_of
) -> None:
    rows = scores()
    extra = {name: values[:8] for name, values in rows.items()}
    extra |= {"text": [f"{text} anew and unlike" for text in extra["text"]], "split": ["test"] * 8}
    mixed = {name: [*turned(rows)[name], *extra[name]] for name in rows}
    lake = make_lake(toy=rows, turned=turned(rows), mixed=mixed)
    spec = spec_for(lake)
    shared = spec.model_dump(include=set(TrainSpec.model_fields) - {"champion"})
    trained = TrainSpec(**shared, champion=None)
    router = train(trained, Run.of(trained))["routers"][0]
    named = {"old": (router["version"], router["checkpoint"])}
    there = {"dataset": "turned", "train_dataset": "turned", "routers": named}
    with pytest.raises(InputError, match="every test query nearly repeats one that old was"):
        run_evaluation(spec_for(lake, **there), Run.of(spec_for(lake, **there)))
    some = spec_for(lake, dataset="mixed", train_dataset="mixed", routers=named)
    manifest = run_evaluation(some, Run.of(some))
    assert manifest["test_queries"] == 8
    assert manifest["left_out"]["seen_by_routers"] == {"old": rows["split"].count("train")}
    report = Path(some.output, "report.html").read_text()
    assert "nearly repeat what old was fitted on" in report


def test_a_held_out_task_is_all_that_is_measured(evaluated, scores) -> None:
    manifest, rows = evaluated(scores(), holdout_tasks=("word",))
    assert tasks_of(rows) == {"word"}
    assert manifest["test_queries"] == 16
    # Without words to learn from, nobody knows that `large` is good at them.
    assert value(rows, method="knn", metric="macro_accuracy") < 0.8
    seen = evaluated(scores())[1]
    assert value(seen, method="knn", metric="accuracy", task="word") > 0.8


def test_each_task_in_turn_is_measured_together(evaluated, scores) -> None:
    manifest, rows = evaluated(scores(), holdout_tasks=("each",))
    assert tasks_of(rows) == {"sum", "word", "rhyme"}
    assert manifest["rounds"] == 3
    assert {row["split"] for row in rows} == {"test"}


def test_cross_measures_every_query_of_a_dataset_that_is_all_test(evaluated, scores) -> None:
    manifest, rows = evaluated(scores() | {"split": ["test"] * 240}, cross=4)
    assert manifest["test_queries"] == 240
    assert manifest["rounds"] == 4
    assert value(rows, method="knn", metric="macro_accuracy") > value(
        rows, method="best_single", metric="macro_accuracy"
    )
    assert {row["split"] for row in rows} == {"cross"}


def test_in_cross_validation_settings_are_chosen_within_the_fold(
    make_lake, spec_for, scores, monkeypatch
) -> None:
    """No fit, of whatever settings, has seen a text that it is measured on."""
    fitted: list[set[str]] = []
    original = Knn.fit_vectors

    def watched(self, outcomes, **more):
        fitted.append(set(outcomes.texts))
        return original(self, outcomes, **more)

    monkeypatch.setattr(Knn, "fit_vectors", watched)
    spec = spec_for(make_lake(toy=scores()), cross=3, folds=2, settings={})
    run_evaluation(spec, Run.of(spec))
    settings = len(Knn.grid())
    assert len(fitted) == 3 * (2 * settings + 1)
    everything = set(scores()["text"])
    for number in range(3):
        whole, *_ = fitted[number * (2 * settings + 1) :][2 * settings :]
        inner = fitted[number * (2 * settings + 1) :][: 2 * settings]
        assert all(part < whole for part in inner)
        assert whole < everything


def test_group_folds_measure_every_task_unseen(evaluated, scores) -> None:
    manifest, rows = evaluated(scores(), group_folds=True, folds=2)
    assert manifest["rounds"] == 3
    assert manifest["test_queries"] == 240
    assert tasks_of(rows) == {"sum", "word", "rhyme"}
    lookup = value(rows, method="task_lookup", metric="macro_accuracy")
    assert lookup == value(rows, method="best_single", metric="macro_accuracy")


def test_shuffled_labels_show_no_gain(evaluated, scores) -> None:
    manifest, rows = evaluated(scores(600), control=True)
    gain = value(rows, method="knn", metric="lift_over_best_single")
    control = value(rows, method="control:knn", metric="lift_over_best_single")
    assert gain > 0.1
    assert control < gain / 3
    assert not [alarm for alarm in manifest["alarms"] if "shuffled" in alarm]


def test_a_pair_is_measured_by_its_names(evaluated, scores) -> None:
    rows = evaluated(scores(), strong="both", weak="small")[1]
    assert 0 < value(rows, method="knn", metric="apgr") < 1.5
    with pytest.raises(InputError, match="nobody"):
        evaluated(scores(), strong="nobody", weak="small")


def test_the_pair_and_what_is_new_reach_the_methods_that_ask(
    evaluated, scores, monkeypatch
) -> None:
    seen = []
    original = Gain.fit

    def watched(self, outcomes, **more):
        seen.append((self.strong, self.weak, self.unseen))
        return original(self, outcomes, **more)

    monkeypatch.setattr(Gain, "fit", watched)
    rows = scores()
    evaluated(rows, methods=("gain",), settings={}, strong="both", weak="small")
    assert set(seen) == {("both", "small", "queries")}
    seen.clear()
    ways = {"strong": "both", "weak": "small", "group_folds": True}
    evaluated(rows, methods=("gain",), settings={"gain": {"weak": "large"}}, **ways)
    assert set(seen) == {("both", "large", "tasks")}


def test_rmr_keeps_the_answers_that_another_scorer_likes(make_lake, spec_for, scores) -> None:
    wide = pl.DataFrame(scores())
    names = ["small", "large", "both"]
    long = wide.unpivot(on=names, index=["text", "task", "split"], variable_name="candidate")
    own = long.rename({"value": "score"}).with_columns(scorer=pl.lit("accuracy"))
    liked = own.with_columns(score=3 * pl.col("score"), scorer=pl.lit("reward"))
    lake = make_lake(toy=pl.concat([own, liked]).to_dict(as_series=False))
    spec = spec_for(lake, ranking="reward", scorer="accuracy", train_scorer="accuracy")
    run_evaluation(spec, Run.of(spec))
    rows = json.loads(Path(spec.output, "metrics.json").read_text())
    found = value(rows, method="rmr", metric="macro_accuracy")
    assert found == value(rows, method="oracle", metric="macro_accuracy")


def test_a_method_that_cannot_be_fitted_is_left_out_of_all(evaluated, scores, monkeypatch) -> None:
    def refuse(self, outcomes, **more):
        raise InputError("needs two candidates")

    monkeypatch.setattr(Knn, "fit_vectors", refuse)
    manifest, _ = evaluated(
        scores(), methods=("cluster_table", "knn"), settings={}, cross=2, skip_refused=True
    )
    assert manifest["left_out"]["methods"] == {"knn": "needs two candidates"}
    assert set(manifest["methods"]) == {"cluster_table"}
    with pytest.raises(InputError, match="needs two candidates"):
        evaluated(scores(), methods=("cluster_table", "knn"))


# --- data that is odd, and data that is refused ---


@pytest.mark.parametrize("ways", [{}, {"cross": 3}, {"holdout_tasks": ("each",)}])
@pytest.mark.parametrize("odd", ["one candidate", "equal scores"])
def test_where_there_is_nothing_to_choose_nothing_is_gained(evaluated, scores, ways, odd) -> None:
    rows = scores()
    if odd == "one candidate":
        rows = {name: values for name, values in rows.items() if name not in ("large", "both")}
    else:
        rows |= dict.fromkeys(("small", "large", "both"), [0.5] * 240)
    found = evaluated(rows, **ways)[1]
    assert value(found, method="knn", metric="lift_over_best_single") == 0


@pytest.mark.parametrize("ways", [{"cross": 3}, {"group_folds": True}, {}])
def test_missing_cells_are_left_out_and_counted(evaluated, scores, ways) -> None:
    rows = scores()
    rng = np.random.default_rng(5)
    rows["small"] = [None if rng.random() < 0.3 else value for value in rows["small"]]
    manifest, _ = evaluated(rows, **ways)
    incomplete = sum(manifest["left_out"]["incomplete_test_queries"].values())
    measured = 240 if ways else rows["split"].count("test")
    assert incomplete > 0
    assert manifest["test_queries"] == measured - incomplete


def test_candidates_of_two_datasets_are_compared_by_name(make_lake, spec_for, scores) -> None:
    fewer = {name: values for name, values in scores(seed=1).items() if name != "large"}
    lake = make_lake(toy=scores(), other=fewer)
    more = spec_for(lake, dataset="toy", train_dataset="other")
    assert set(run_evaluation(more, Run.of(more))["methods"]["knn"])
    less = spec_for(lake, dataset="other", train_dataset="toy")
    with pytest.raises(InputError, match="candidates large have no reward on this dataset"):
        run_evaluation(less, Run.of(less))
    named = spec_for(lake, dataset="other", train_dataset="toy", candidates=("small", "both"))
    run_evaluation(named, Run.of(named))


def test_one_task_cannot_be_held_out(evaluated, scores) -> None:
    rows = scores() | {"task": ["only"] * 240}
    with pytest.raises(InputError, match="one task"):
        evaluated(rows, group_folds=True)
    with pytest.raises(InputError, match="no train query of another task"):
        evaluated(rows, holdout_tasks=("only",))


def test_a_candidate_with_rewards_in_one_fold_alone_is_refused(evaluated, scores) -> None:
    rows = scores()
    rows["large"] = [1.0, *[None] * 239]
    with pytest.raises(InputError, match="'large' has no reward in any training row"):
        evaluated(rows, cross=3)


def test_where_no_method_can_be_fitted_the_baselines_are_still_measured(
    evaluated, scores, monkeypatch
) -> None:
    def refuse(self, outcomes, **more):
        raise InputError("not today")

    monkeypatch.setattr(Knn, "fit_vectors", refuse)
    manifest, rows = evaluated(scores(), skip_refused=True, control=True)
    assert manifest["left_out"]["methods"] == {"knn": "not today"}
    assert value(rows, method="best_single", metric="macro_accuracy") > 0


def test_a_method_without_its_pair_is_left_out_and_named(evaluated, scores) -> None:
    manifest, rows = evaluated(
        scores(), methods=("knn", "gain", "bert"), cross=2, skip_refused=True
    )
    assert set(manifest["left_out"]["methods"]) == {"gain", "bert"}
    assert {row["method"] for row in rows} >= {"knn"}
    assert "gain, bert are left out" in Path(manifest["outputs"][3]).read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ("knn", "gain")}, "gain: a pair is asked for"),
        ({"strong": "small", "weak": "nobody"}, "nobody"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_fitted(
    changes, words, evaluated, scores, monkeypatch
) -> None:
    monkeypatch.setattr(Knn, "fit_vectors", lambda *_, **__: pytest.fail("knn was fitted"))
    with pytest.raises(InputError, match=words):
        evaluated(scores(), **changes)


QUICK = {
    "methods": ("knn", "ridge", "zooter", "gain"),
    "settings": {"zooter": {"epochs": 1, "hidden": 4, "beta": 0.3, "reward_temperature": 1.0}},
    "skip_refused": True,
}
NAMES = ("small", "large", "both")


def odd_table(kind: str, rows: dict) -> dict:
    """A table with one oddity."""
    n = len(rows["text"])
    if kind == "one candidate":
        return {name: values for name, values in rows.items() if name not in NAMES[1:]}
    changed = {
        "one task": {"task": ["only"] * n},
        "equal scores": dict.fromkeys(NAMES, [0.5] * n),
        "no success": dict.fromkeys(NAMES, [0.0] * n),
        "missing cells": {
            "small": [None if row % 3 == 0 else value for row, value in enumerate(rows["small"])]
        },
        "long texts": {
            "text": [f"{text} {'word ' * (20_000 * (row % 40 == 0))}"
                     for row, text in enumerate(rows["text"])]
        },
        "a task called all": {"task": ["all" if task == "sum" else task for task in rows["task"]]},
        "one test row": {
            "split": ["test" if row == 9 else {"test": "train"}.get(split, split)
                      for row, split in enumerate(rows["split"])]
        },
    }  # fmt: skip
    return rows | changed[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "one candidate", "one task", "equal scores", "no success", "missing cells", "long texts",
        "a task called all", "one test row",
    ],
)  # fmt: skip
def test_odd_data_is_measured_by_every_kind_of_method(evaluated, scores, kind) -> None:
    manifest, rows = evaluated(odd_table(kind, scores(150)), **QUICK)
    assert set(manifest["left_out"]["methods"]) == {"gain"}
    methods = {row["method"] for row in rows}
    assert methods > {*QUICK["methods"]} - {"gain"}
    assert all(np.isfinite(row["value"]) for row in rows)
    for method in ("best_single", "task_lookup", "oracle", "zooter"):
        assert 0 <= value(rows, method=method, metric="macro_accuracy") <= 1
    if kind in ("one candidate", "one task", "equal scores", "no success"):
        assert not [alarm for alarm in manifest["alarms"] if "collapsed" in alarm]


def test_a_task_that_is_called_all_is_not_taken_for_all_tasks(evaluated, scores) -> None:
    _, rows = evaluated(odd_table("a task called all", scores()))
    assert tasks_of(rows) == {"task:all", "word", "rhyme"}
    by_task = [
        value(rows, method="knn", metric="accuracy", task=task)
        for task in ("task:all", "word", "rhyme")
    ]
    assert value(rows, method="knn", metric="macro_accuracy") == pytest.approx(np.mean(by_task))


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ("train", "none of the .* test queries has a reward of every candidate; .* of 'large'"),
        ("test", "'large' has no reward in any training row"),
    ],
)
def test_a_candidate_on_one_side_alone_is_told_before_anything_is_fitted(
    kept, words, evaluated, scores, monkeypatch
) -> None:
    monkeypatch.setattr(Knn, "fit_vectors", lambda *_, **__: pytest.fail("knn was fitted"))
    rows = scores()
    rows["large"] = [
        value if (split == "test") == (kept == "test") else None
        for value, split in zip(rows["large"], rows["split"], strict=True)
    ]
    with pytest.raises(InputError, match=words):
        evaluated(rows)

"""Training and evaluation on battles, run in this process: pinned, and no baseline's business."""

import json
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.jobs.evaluate import EvaluateSpec, run_evaluation
from cluster.jobs.fitting import fit_all
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec, train
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS
from cluster.lake.tables import PREFERENCES
from cluster.routers.checkpoint import load_router
from cluster.routers.transfer import transfer

KINDS = ("prove theorem {} on lattice {}", "greet person {} in room {}")


def draw(rng: np.random.Generator, *, n: int) -> tuple[list[str], np.ndarray]:
    """Texts, and whether they are hard: only a strong candidate proves theorems."""
    hard = rng.random(n) < 0.5
    numbers = rng.integers(0, 9999, size=(n, 2)).tolist()
    texts = [KINDS[not one].format(*pair) for one, pair in zip(hard, numbers, strict=True)]
    return texts, hard


def arena(n: int = 600, seed: int = 0) -> list[dict]:
    """Six candidates, half of them strong."""
    rng = np.random.default_rng(seed)
    texts, hard = draw(rng, n=n)
    rows = []
    for text, is_hard in zip(texts, hard, strict=True):
        a, b = rng.choice(6, size=2, replace=False).tolist()
        right = [rng.random() < (0.9 if one < 3 or not is_hard else 0.2) for one in (a, b)]
        winner = {1: "model_a", 0: "tie", -1: "model_b"}[int(right[0]) - int(right[1])]
        rows.append({"text": text, "model_a": f"m{a}", "model_b": f"m{b}", "winner": winner})
    return rows


def scores(n: int = 200, *, split: str = "test", seed: int = 1) -> list[dict]:
    """Two others, the strong one worse on what is easy."""
    rng = np.random.default_rng(seed)
    texts, hard = draw(rng, n=n)
    large = rng.random(n) < np.where(hard, 0.9, 0.8)
    small = rng.random(n) < np.where(hard, 0.2, 0.9)
    columns = zip(texts, large, small, strict=True)
    return [
        {"text": text, "large": float(one), "small": float(two), "split": split}
        for text, one, two in columns
    ]


@pytest.fixture
def lake(tmp_path):
    """Battles `arena`, and two datasets of the same two candidates: all test, and with train."""
    uri = str(tmp_path / "lake")
    both = scores(120, split="train", seed=2) + scores(60, seed=3)
    given = {"battles": ("arena", arena()), "table": ("bench", scores()), "": ("own", both)}
    for format_name, (dataset, rows) in given.items():
        path = tmp_path / f"{dataset}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = ImportSpec(
            lake=uri,
            format=format_name or "table",
            path=str(path),
            digest=path_digest(str(path)),
            dataset=dataset,
        )
        import_table(spec, Run.of(spec))
    return uri


@pytest.fixture
def common(lake):
    return {
        "lake": lake,
        "methods": ("similarity_weighted",),
        "dataset": "bench",
        "scorer": "",
        "normalisation": "none",
        "candidates": (),
        "prices": {},
        "seed": 0,
        "inputs": Lake.open(lake).versions((*INPUTS, PREFERENCES)),
        "preferences": "arena",
        "strong": "large",
        "weak": "small",
    }


@pytest.fixture
def evaluated(common, tmp_path):
    def run(**changes) -> tuple[dict, dict]:
        own = {"routers": {}, "train_dataset": changes.get("dataset", "bench"), "train_scorer": ""}
        spec = EvaluateSpec(**(common | own | {"output": str(tmp_path / "out")} | changes))
        manifest = run_evaluation(spec, Run.of(spec))
        rows = json.loads(Path(spec.output, "metrics.json").read_text())
        overall = {(r["method"], r["metric"]): r["value"] for r in rows if r["task"] == "all"}
        return manifest, overall

    return run


def test_strangers_battles_teach_which_queries_take_a_strong_candidate(evaluated) -> None:
    quick = {"mf": {"noise": 0.0, "epochs": 10}, "bert": {"epochs": 4}}
    methods = ("mf", "similarity_weighted", "bert")
    _, values = evaluated(methods=methods, settings=quick)
    for method in methods:
        assert values[method, "apgr"] > 0.7


def test_a_control_learns_from_shuffled_battles(evaluated, monkeypatch) -> None:
    given = []

    def watched(spec, *, data, **more):
        given.append(data.battles)
        return fit_all(spec, data=data, **more)

    monkeypatch.setattr("cluster.jobs.evaluate.fit_all", watched)
    evaluated(control=True)
    true, control = given
    assert control.queries.equals(true.queries)
    assert not np.array_equal(control.mask, true.mask)
    assert np.array_equal(control.mask.sum(axis=0), true.mask.sum(axis=0))


def test_best_single_is_the_one_that_was_stated_where_nothing_else_is_known(evaluated) -> None:
    _, values = evaluated()
    for baseline in ("best_single", "task_lookup"):
        assert values[baseline, "macro_accuracy"] == values["candidate:large", "macro_accuracy"]


def test_baselines_are_the_same_with_battles_and_without(evaluated) -> None:
    """And so is a method that learns from rewards."""
    methods = ("knn", "similarity_weighted")
    _, beside = evaluated(dataset="own", methods=methods)
    _, without = evaluated(dataset="own", methods=methods, preferences="")
    kept = [key for key in without if key[0] in ("best_single", "task_lookup", "random", "knn")]
    assert {key: beside[key] for key in kept} == {key: without[key] for key in kept}
    assert beside["similarity_weighted", "apgr"] != without["similarity_weighted", "apgr"]


def test_every_way_to_measure_takes_battles_along(evaluated) -> None:
    manifest, values = evaluated(cross=3)
    assert manifest["test_queries"] == 200
    assert values["similarity_weighted", "apgr"] > 0.7


def test_what_is_pinned_is_what_is_read(common, lake, tmp_path, evaluated) -> None:
    _, before = evaluated()
    path = tmp_path / "arena.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in arena(900, seed=9)))
    spec = ImportSpec(lake=lake, format="battles", path=str(path), digest="other", dataset="arena")
    assert import_table(spec, Run.of(spec))["new_battles"] > 800
    _, after = evaluated()
    assert after == before


def test_a_router_of_battles_beside_outcomes(common) -> None:
    spec = TrainSpec(**(common | {"dataset": "own"}), champion=None)
    manifest = train(spec, Run.of(spec))
    assert manifest["rows"]["battles"] > 500
    [router] = manifest["routers"]
    assert router["metrics"]["macro_accuracy"] > 0
    assert load_router(router["checkpoint"]).candidates == ("large", "small")
    kept = Path(f"{router['checkpoint']}.outcomes.parquet")
    facts = json.loads(Path(router["checkpoint"], "router.json").read_text())
    assert kept.exists()
    assert facts["data"]["learned_from"] > facts["data"]["train"]


def test_battles_alone_teach_a_scale_for_any_pair(common) -> None:
    alone = common | {"dataset": "arena", "strong": "", "weak": ""}
    spec = TrainSpec(**alone, champion=None)
    manifest = train(spec, Run.of(spec))
    assert manifest["table"] == []
    assert manifest["rows"]["test"] == 0
    [entry] = manifest["routers"]
    assert entry["metrics"] == {}
    router = load_router(entry["checkpoint"])
    assert set(router.candidates) <= {f"m{number}" for number in range(6)}
    assert set(router.candidates[:1]) <= {"m0", "m1", "m2"}
    lent = transfer(router, strong="large", weak="small")
    rows = scores(40, seed=5)
    gain = lent.predict(_texts(rows)).reward @ [1, -1]
    hard = np.array(["theorem" in row["text"] for row in rows])
    assert gain[hard].mean() > gain[~hard].mean()


def test_what_was_fitted_elsewhere_is_measured_where_there_is_no_train_row(
    common, evaluated
) -> None:
    spec = TrainSpec(**(common | {"dataset": "arena", "strong": "", "weak": ""}), champion=None)
    [entry] = train(spec, Run.of(spec))["routers"]
    routers = {"old": (entry["version"], entry["checkpoint"])}
    manifest, values = evaluated(
        methods=("knn",), routers=routers, preferences="", skip_refused=True
    )
    assert values["old", "apgr"] > 0.7
    assert "learns from rewards" in manifest["left_out"]["methods"]["knn"]


def _texts(rows: list[dict]):
    import polars as pl

    return pl.Series("text", [row["text"] for row in rows])


def test_a_method_that_learns_from_rewards_has_none(evaluated) -> None:
    with pytest.raises(InputError, match="'knn' learns from rewards, and no train query has one"):
        evaluated(methods=("knn", "mf"))
    manifest, values = evaluated(methods=("knn", "similarity_weighted"), skip_refused=True)
    assert set(manifest["left_out"]["methods"]) == {"knn"}
    assert ("similarity_weighted", "apgr") in values


def test_tiers_that_are_given_are_taken(common, lake, monkeypatch) -> None:
    given = {"tiers": 6, "strong_tiers": (0,), "weak_tier": 5}
    spec = EvaluateSpec(
        **(common | {"settings": {"similarity_weighted": given}}),
        routers={},
        train_dataset="bench",
        train_scorer="",
        output="",
    )
    fitted = []
    monkeypatch.setattr(
        "cluster.jobs.evaluate.fit_all",
        lambda *words, **named: fitted.append(fit_all(*words, **named)) or fitted[-1],
    )
    monkeypatch.setattr(
        "cluster.jobs.evaluate._write", lambda *words, **named: {"cost_quality.png": ""}
    )
    run_evaluation(spec, Run.of(spec))
    settings = fitted[0]["similarity_weighted"].settings.model_dump()
    assert {name: settings[name] for name in given} == given

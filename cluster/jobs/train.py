"""The train job: methods fitted on pinned outcomes, evaluated, saved as checkpoints."""

from collections.abc import Mapping
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from cluster.drift.kept import profile_files
from cluster.drift.trained import Profiles
from cluster.evaluation.baselines import BASELINES
from cluster.evaluation.harness import Evaluation, evaluate, require_measurable
from cluster.evaluation.metrics import CHAMPION
from cluster.evaluation.picture import picture
from cluster.gate.frozen import snapshot_texts
from cluster.gate.snapshot import load_snapshot
from cluster.jobs.check_methods import check_methods
from cluster.jobs.fitting import (
    FittingSpec,
    Label,
    checkpoint_meta,
    fit_all,
    keep_histories,
    on_cluster,
    outcomes_of,
    short_table,
)
from cluster.jobs.kept_outcomes import keep_outcomes, outcomes_frame
from cluster.jobs.prepared import Prepared, battles_alone, battles_of, prepare
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.unseen_rewards import validation_rewards
from cluster.jobs.warm_starts import warm_starts, with_ancestors
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import has_rewards
from cluster.lake.tables import EVALUATIONS
from cluster.lake.vectors import LakeVectors
from cluster.policies import load_policy
from cluster.routers.checkpoint import checkpoint_files, load_router, save_checkpoint, version_of
from cluster.routers.fit import Fit, load_method
from cluster.routers.gradient import training_table
from cluster.routers.router import Router

# What the registry and the gate look at: overall values with their intervals.
HEADLINES = (
    "macro_accuracy",
    "micro_accuracy",
    "lift_over_best_single",
    "lift_over_task_lookup",
    "lift_over_cost_matched_mix",
    "lift_over_champion",
    "oracle_gap_closed",
    "mean_cost_usd",
)


class TrainSpec(FittingSpec):
    """What to train.

    Attributes:
        champion: version and checkpoint of the router to beat, or empty.
        also: datasets whose train queries are learned from beside the dataset's.
        start: method → version and checkpoint of an earlier router, that training by gradient goes
            on from where it can.
        snapshot: name of the frozen snapshot that the gate measures by; nothing that nearly repeats
            a query of it is learned from. Empty: none.
    """

    job: ClassVar[str] = "train"

    champion: tuple[str, str] | None
    also: tuple[str, ...] = ()
    start: dict[str, tuple[str, str]] = Field(default_factory=dict)
    snapshot: str = ""


def train(spec: TrainSpec, run: Run) -> Manifest:
    """Fit, evaluate and save; returns one entry a router with its headline numbers.

    Of battles alone nothing can be measured: the entries then have no numbers.

    Raises:
        InputError: the dataset has nothing to fit on or to test on, or a method cannot be fitted.
    """
    lake = Lake.open(spec.lake)
    label = Label(spec.dataset, spec.scorer, spec.normalisation, spec.temperature)
    data = _data(spec, label=label, lake=lake)
    if len(data.test):
        require_measurable(data.test)
    check_methods(spec, data=data)
    starts, begun = warm_starts(spec.start, data=data, given=spec.given)
    fits = fit_all(spec, data=data, run=run, memory=LakeVectors(lake), starts=starts)
    evaluation = _evaluate(spec, data=data, fits=fits) if len(data.test) else None
    histories = {name: fit.history for name, fit in fits.items() if fit.history is not None}
    went_on = {method: spec.start[method][1] for method in starts}
    versions = _save(fits, label=label, data=data, lake=lake, seed=spec.seed, went_on=went_on)
    if evaluation is not None:
        _keep_metrics(evaluation.rows, versions=versions, run=run, lake=lake)
        lake.storage.write(run.uri("cost_quality.png"), picture(evaluation))
    return {
        "outputs": [
            _checkpoint_uri(lake, version) + "/router.json" for version in versions.values()
        ],
        "routers": _entries(fits, versions=versions, data=data, evaluation=evaluation, lake=lake),
        "champion": _headlines(evaluation, method=CHAMPION),
        "table": short_table(evaluation) if evaluation else [],
        "alarms": list(evaluation.alarms) if evaluation else [],
        "picture": run.uri("cost_quality.png") if evaluation else None,
        "history": keep_histories(histories, run=run),
        "training": training_table(histories),
        "begun": begun,
        "left_out": {
            "near_duplicates": data.near_duplicates,
            "incomplete_test_queries": dict(evaluation.incomplete) if evaluation else {},
        },
        "rows": {"train": len(data.train), "validation": len(data.validation)}
        | {"test": len(evaluation.outcomes) if evaluation else 0}
        | ({} if data.battles is None else {"battles": len(data.battles)}),
    }


def _entries(
    fits: dict[str, Fit],
    *,
    versions: dict[str, str],
    data: Prepared,
    evaluation: Evaluation | None,
    lake: Lake,
) -> list[dict[str, Any]]:
    """What the registry and the gate are told of each router."""
    validated = validation_rewards(fits, data=data)
    return [
        {
            "method": method,
            "reads_answer_of": fits[method].router.reads_answer_of,
            "version": version,
            "checkpoint": _checkpoint_uri(lake, version),
            "metrics": _headlines(evaluation, method=method),
            "validation_macro_reward": validated[method],
        }
        for method, version in versions.items()
    ]


def _data(spec: TrainSpec, *, label: Label, lake: Lake) -> Prepared:
    """Outcomes, battles beside them, or battles alone where the dataset has no reward."""
    battles = battles_of(lake, dataset=spec.preferences, judge=spec.judge, versions=spec.inputs)
    if battles is not None and not has_rewards(lake, dataset=spec.dataset, versions=spec.inputs):
        return battles_alone(battles)
    outcomes = outcomes_of(
        label,
        lake=lake,
        versions=spec.inputs,
        candidates=spec.candidates,
        tagger=spec.tagger,
        answers=_reads_answers(spec),
        also=spec.also,
    )
    pair = (spec.strong, spec.weak) if spec.strong else None
    frozen = None
    if spec.snapshot:
        frozen = snapshot_texts(lake, snapshot=load_snapshot(lake, name=spec.snapshot))
    return prepare(outcomes, battles=battles, pair=pair, frozen=frozen)


def _headlines(evaluation: Evaluation | None, *, method: str) -> dict[str, Any]:
    return headlines(evaluation.rows, method=method) if evaluation else {}


def _evaluate(spec: TrainSpec, *, data: Prepared, fits: dict[str, Fit]) -> Evaluation:
    routers = {name: fit.router for name, fit in fits.items() if name not in BASELINES}
    champion = _champion(spec)
    if champion is not None and set(champion.candidates) <= set(data.test.candidates):
        routers[CHAMPION] = champion
    return evaluate(
        data.known,
        data.test,
        routers=routers,
        prices=spec.prices,
        policy=load_policy("best"),
        seed=spec.seed,
        dataset=spec.dataset,
        strong=spec.strong,
        weak=spec.weak,
    )


def _reads_answers(spec: TrainSpec) -> bool:
    """Whether a method, or the router to beat, decides by an answer."""
    champion = _champion(spec)
    methods = [load_method(name) for name in spec.methods]
    return bool(champion and champion.reads_answer_of) or any(
        getattr(method, "needs_answers", False) for method in methods
    )


def _champion(spec: TrainSpec) -> Router | None:
    if spec.champion is None:
        return None
    version, checkpoint = spec.champion
    return load_router(checkpoint, version=version)


def _save(
    fits: dict[str, Fit],
    *,
    label: Label,
    data: Prepared,
    lake: Lake,
    seed: int,
    went_on: Mapping[str, str],
) -> dict[str, str]:
    """Method → version of its checkpoint; the outcomes it was fitted on are kept beside it.

    `went_on`: method → checkpoint it was trained from.
    """
    versions, profiles = {}, Profiles(seed)
    for method, fit in fits.items():
        meta = checkpoint_meta(fit, label=label, data=data, seed=seed)
        taught = data.taught(fit.settings)
        beside = profile_files(profiles.of(fit.router, queries=taught.queries))
        version = version_of(checkpoint_files(fit.router, meta=meta, beside=beside))
        uri = _checkpoint_uri(lake, version)
        known = outcomes_frame(taught)
        if method in went_on:
            known = with_ancestors(known, checkpoint=went_on[method], lake=lake)
        keep_outcomes(known, checkpoint=uri, lake=lake)
        save_checkpoint(fit.router, uri, meta=meta, beside=beside)
        versions[method] = version
    return versions


def _checkpoint_uri(lake: Lake, version: str) -> str:
    return lake.storage.join("checkpoints", version)


def headlines(rows: pl.DataFrame, *, method: str) -> dict[str, Any]:
    """metric → value and `metric_low`, `metric_high`, over all tasks."""
    overall = rows.filter(
        (pl.col("method") == method)
        & (pl.col("task") == "all")
        & pl.col("metric").is_in(list(HEADLINES))
    )
    found: dict[str, Any] = {}
    for metric, value, low, high in overall.select(
        "metric", "value", "ci_low", "ci_high"
    ).iter_rows():
        found |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    return found


def _keep_metrics(rows: pl.DataFrame, *, versions: dict[str, str], run: Run, lake: Lake) -> None:
    """Every metric goes into the lake, a router's under its version, the others under the run's."""
    version = pl.col("method").replace_strict(
        versions, default=pl.lit(run.work_id), return_dtype=pl.String
    )
    kept = rows.with_columns(version=version).select(EVALUATIONS.columns)
    append_new(kept, lake=lake, table=EVALUATIONS)


if __name__ == "__main__":
    main(TrainSpec, work=on_cluster(train))

"""The evaluate job: methods or registered routers against all baselines, on any dataset."""

import json
from typing import ClassVar

from cluster.evaluation.harness import Evaluation, evaluate, write_metrics_json
from cluster.evaluation.picture import picture
from cluster.jobs.fitting import Label, Prepared, fit_all, outcomes_of, prepare, short_table
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.jobs.train import headlines
from cluster.lake.lake import Lake
from cluster.lake.outcomes import Normalisation
from cluster.policy import load_policy
from cluster.price import Price
from cluster.routers.checkpoint import load_router
from cluster.routers.router import Router
from cluster.storage import Storage

# These two stand in every evaluation as baselines, computed exactly.
ALWAYS_REPORTED = ("random", "best_single", "task_lookup", "oracle")


class EvaluateSpec(JobSpec):
    """What to evaluate.

    Attributes:
        methods: fitted here on the train split of `train_dataset`.
        routers: name → (version, checkpoint) of registered routers.
        dataset: its test split is measured on.
        train_dataset: what methods and baselines are fitted on.
        scorer, normalisation, candidates, prices, seed, inputs: as in `TrainSpec`.
        output: folder for metrics.json, table.json and the picture.
    """

    job: ClassVar[str] = "evaluate"

    methods: tuple[str, ...]
    routers: dict[str, tuple[str, str]]
    dataset: str
    train_dataset: str
    scorer: str
    train_scorer: str
    normalisation: Normalisation
    candidates: tuple[str, ...]
    prices: dict[str, Price]
    output: str
    seed: int
    inputs: dict[str, int]


def run_evaluation(spec: EvaluateSpec, run: Run) -> Manifest:
    """Measure, and write metrics.json and the picture to the output folder.

    Raises:
        InputError: nothing to fit on or to test on, or candidates that do not match.
    """
    data = _data(spec, lake=Lake.open(spec.lake))
    fits = fit_all(spec.methods, data=data, seed=spec.seed, run=run)
    routers: dict[str, Router] = {name: fit.router for name, fit in fits.items()}
    routers |= {
        name: load_router(checkpoint, version=version)
        for name, (version, checkpoint) in spec.routers.items()
    }
    evaluation = evaluate(
        data.fitted_on,
        data.test,
        routers=routers,
        prices=spec.prices,
        policy=load_policy("best"),
        seed=spec.seed,
        dataset=spec.dataset,
    )
    outputs = _write(evaluation, output=Storage.at(spec.output))
    return {
        "outputs": outputs,
        "table": short_table(evaluation),
        "methods": {name: headlines(evaluation.rows, method=name) for name in routers},
        "picture": outputs[-1],
        "left_out": {
            "near_duplicates": data.near_duplicates,
            "incomplete_test_queries": dict(evaluation.incomplete),
        },
        "test_queries": len(evaluation.outcomes),
    }


def _data(spec: EvaluateSpec, *, lake: Lake) -> Prepared:
    label = Label(spec.train_dataset, spec.train_scorer, spec.normalisation)
    outcomes = outcomes_of(label, lake=lake, versions=spec.inputs, candidates=spec.candidates)
    if spec.dataset == spec.train_dataset and spec.scorer == spec.train_scorer:
        return prepare(outcomes)
    other = Label(spec.dataset, spec.scorer, spec.normalisation)
    test = outcomes_of(other, lake=lake, versions=spec.inputs, candidates=outcomes.candidates)
    return prepare(outcomes, test=test.on_splits(["test"]))


def _write(evaluation: Evaluation, *, output: Storage) -> list[str]:
    metrics, table, image = (
        output.join(name) for name in ("metrics.json", "table.json", "cost_quality.png")
    )
    write_metrics_json(evaluation.rows, uri=metrics)
    output.write(table, json.dumps(short_table(evaluation), indent=1).encode())
    output.write(image, picture(evaluation))
    return [metrics, table, image]


if __name__ == "__main__":
    main(EvaluateSpec, work=run_evaluation)

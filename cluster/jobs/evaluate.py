"""The evaluate job: methods or registered routers against all baselines, on any dataset."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import polars as pl

from cluster.encoders.encoder import Vectors
from cluster.encoders.memory import VectorMemory
from cluster.errors import InputError
from cluster.evaluation.baselines import rmr_route
from cluster.evaluation.control import CONTROL, shuffled
from cluster.evaluation.harness import (
    Evaluation,
    Fold,
    evaluate_predictions,
    pool,
    predict,
    require_measurable,
    write_metrics_json,
)
from cluster.evaluation.pair import choose_pair
from cluster.evaluation.picture import picture
from cluster.evaluation.report import Extras, report
from cluster.jobs.check_methods import check_methods
from cluster.jobs.fitting import (
    FittingSpec,
    Label,
    fit_all,
    on_cluster,
    outcomes_of,
    short_table,
)
from cluster.jobs.prepared import Prepared, battles_of
from cluster.jobs.registered import without_seen
from cluster.jobs.rounds import Round, Rounds, by_split, crossed, group_crossed, without_tasks
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.train import headlines
from cluster.lake.lake import Lake
from cluster.lake.vectors import LakeVectors
from cluster.outcome import OutcomeMatrix
from cluster.policies import load_policy
from cluster.routers.checkpoint import load_router
from cluster.routers.fit import Fit
from cluster.routers.gradient import training_table
from cluster.routers.router import Prediction, Router
from cluster.routers.transfer import transfer
from cluster.storage import Storage


class EvaluateSpec(FittingSpec):
    """What to evaluate.

    A registered router that does not know the pair lends it what it learned of its own.

    Attributes:
        routers: name → (version, checkpoint) of registered routers.
        train_dataset, train_scorer: what methods and baselines are fitted on.
        output: folder for metrics.json, table.json, the picture and the report.
        holdout_tasks: fitted without these, measured on them; `each` for each in turn.
        cross: folds over all rows of the dataset, each measured fitted on the others.
        group_folds: the same with whole tasks in a fold.
        control: fit every method on shuffled labels too; none of them must show a gain.
        ranking: scorer of a reward model, which the baseline `rmr` chooses by; empty for none.
        skip_refused: leave out methods that cannot be fitted here, and say why.
    """

    job: ClassVar[str] = "evaluate"

    routers: dict[str, tuple[str, str]]
    train_dataset: str
    train_scorer: str
    output: str
    holdout_tasks: tuple[str, ...] = ()
    cross: int = 0
    group_folds: bool = False
    control: bool = False
    ranking: str = ""
    skip_refused: bool = False


@dataclass(frozen=True)
class Measured:
    """What methods and routers said of the measured rows; filled round by round.

    Attributes:
        parts: by method, its prediction of each round's rows.
        reads: by method, the candidate whose answer it read, where it read one.
        histories: of the methods that train by gradient.
        embeddings: (n_measured, d), of the methods that have any, where there is one round.
        refused: by method, why it could not be fitted.
    """

    parts: dict[str, list[Prediction]] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    histories: dict[str, pl.DataFrame] = field(default_factory=dict)
    embeddings: dict[str, Vectors] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str, router: Router, *, outcomes: OutcomeMatrix, skip_refused: bool
    ) -> None:
        """Ask a router about the rows of one round.

        Raises:
            InputError: it cannot be asked, and is not to be left out for that.
        """
        try:
            said = predict_complete(router, outcomes=outcomes)
        except InputError as error:
            if not skip_refused:
                raise
            self.refused[name.removeprefix(CONTROL)] = str(error)
            return
        self.parts.setdefault(name, []).append(said)
        if router.reads_answer_of:
            self.reads[name] = router.reads_answer_of

    def pooled(self, folds: Sequence[Fold]) -> dict[str, Prediction]:
        """By method, one prediction of all measured rows; without those that were refused."""
        return {
            name: pool(folds, parts)
            for name, parts in self.parts.items()
            if name.removeprefix(CONTROL) not in self.refused
        }


def run_evaluation(spec: EvaluateSpec, run: Run) -> Manifest:
    """Measure, and write metrics.json, pictures and report to the output folder.

    Raises:
        InputError: nothing to fit on or to test on, or candidates that do not match.
    """
    lake = Lake.open(spec.lake)
    rounds, seen = _rounds(spec, lake=lake)
    ranking = _ranking(spec, lake=lake, candidates=rounds.measured.candidates)
    _check(spec, rounds=rounds, ranking=ranking)
    measured = Measured()
    registered = _registered(spec, measured=measured, outcomes=rounds.measured)
    _fit_rounds(spec, rounds=rounds, run=run, memory=LakeVectors(lake), measured=measured)
    evaluation = _evaluate(
        spec, rounds=rounds, measured=measured, registered=registered, ranking=ranking
    )
    extras = Extras(
        histories=measured.histories,
        embeddings=measured.embeddings,
        left_out={
            "nearly repeat a measured query": rounds.near_duplicates,
            **{f"nearly repeat what {name} was fitted on": n for name, n in seen.items()},
        },
        fitted=rounds.words,
        refused=measured.refused,
        rounds=len(rounds.rounds),
    )
    outputs = _write(evaluation, extras=extras, output=Storage.at(spec.output))
    return {
        "outputs": list(outputs.values()),
        "table": short_table(evaluation),
        "methods": {
            name: headlines(evaluation.rows, method=name) for name in evaluation.predictions
        },
        "picture": outputs["cost_quality.png"],
        "rounds": len(rounds.rounds),
        "training": training_table(measured.histories),
        "alarms": list(evaluation.alarms),
        "left_out": {
            "near_duplicates": rounds.near_duplicates,
            "seen_by_routers": seen,
            "incomplete_test_queries": dict(evaluation.incomplete),
            "methods": measured.refused,
        },
        "test_queries": len(evaluation.outcomes),
    }


def _check(spec: EvaluateSpec, *, rounds: Rounds, ranking: OutcomeMatrix | None) -> None:
    """Refuse rewards, a pair or a ranking that are not there, before anything is fitted.

    Raises:
        InputError: as the harness would say in the end.
    """
    measured = rounds.measured
    require_measurable(measured)
    choose_pair(
        measured.candidates,
        strong=spec.strong,
        weak=spec.weak,
        train_reward=np.zeros(len(measured.candidates)),
    )
    rmr_route(ranking, measured.complete())


def _evaluate(
    spec: EvaluateSpec,
    *,
    rounds: Rounds,
    measured: Measured,
    registered: Mapping[str, Prediction],
    ranking: OutcomeMatrix | None,
) -> Evaluation:
    """What methods and registered routers say, and what that is worth."""
    folds = [Fold(train=one.data.known, rows=one.rows) for one in rounds.rounds]
    predictions = {**measured.pooled(folds), **registered}
    evaluation = evaluate_predictions(
        rounds.measured,
        folds=folds,
        predictions=predictions,
        reads={name: read for name, read in measured.reads.items() if name in predictions},
        prices=spec.prices,
        policy=load_policy("best"),
        seed=spec.seed,
        dataset=spec.dataset,
        split=rounds.split,
        held_out_tasks=rounds.resample_tasks,
        strong=spec.strong,
        weak=spec.weak,
        ranking=ranking,
    )
    alarms = (*evaluation.alarms, *gains_of_controls(evaluation.rows))
    return replace(evaluation, alarms=alarms)


def _rounds(spec: EvaluateSpec, *, lake: Lake) -> tuple[Rounds, dict[str, int]]:
    """What is fitted on and what is measured; by registered router, queries left out for it."""
    label = Label(spec.train_dataset, spec.train_scorer, spec.normalisation, spec.temperature)
    outcomes = outcomes_of(
        label,
        lake=lake,
        versions=spec.inputs,
        candidates=spec.candidates,
        tagger=spec.tagger,
        answers=True,
    )
    battles = battles_of(lake, dataset=spec.preferences, judge=spec.judge, versions=spec.inputs)
    pair = (spec.strong, spec.weak) if spec.strong else None
    if spec.holdout_tasks:
        return without_tasks(outcomes, tasks=spec.holdout_tasks, battles=battles), {}
    if spec.cross:
        return crossed(outcomes, n_folds=spec.cross, battles=battles), {}
    if spec.group_folds:
        return group_crossed(outcomes, battles=battles), {}
    measured = outcomes
    if (spec.dataset, spec.scorer) != (spec.train_dataset, spec.train_scorer):
        other = Label(spec.dataset, spec.scorer, spec.normalisation, spec.temperature)
        measured = outcomes_of(
            other, lake=lake, versions=spec.inputs, candidates=outcomes.candidates, answers=True
        )
    test, seen = without_seen(measured.on_splits(["test"]), routers=spec.routers, lake=lake)
    return by_split(outcomes, test=test, battles=battles, pair=pair), seen


def _ranking(spec: EvaluateSpec, *, lake: Lake, candidates: Sequence[str]) -> OutcomeMatrix | None:
    """What a reward model says of the measured dataset, where one was named."""
    if not spec.ranking:
        return None
    label = Label(spec.dataset, spec.ranking)
    return outcomes_of(label, lake=lake, versions=spec.inputs, candidates=candidates)


def _fit_rounds(
    spec: EvaluateSpec, *, rounds: Rounds, run: Run, memory: VectorMemory, measured: Measured
) -> None:
    """The methods fitted in every round, and asked about its rows.

    Raises:
        InputError: a method cannot be fitted in some round, told before the first.
    """
    refused = measured.refused if spec.skip_refused else None
    for one in rounds.rounds:
        shared = _shared(rounds)
        check_methods(spec, data=one.data, shared=shared, refused=refused)
    for one in rounds.rounds:
        fits = _fits(spec, one=one, rounds=rounds, run=run, measured=measured, memory=memory)
        alone = len(rounds.rounds) == 1
        for name, fit in fits.items():
            measured.add(name, fit.router, outcomes=one.data.test, skip_refused=spec.skip_refused)
            if fit.history is not None:
                measured.histories[name if alone else f"{name}, {one.name}"] = fit.history
            learned = fit.router.embed(one.data.test.complete().texts) if alone else None
            if learned is not None:
                measured.embeddings[name] = learned
        if spec.control:
            shuffle = replace(one, name=f"{one.name}, shuffled labels", data=_shuffled(one, spec))
            fits = _fits(
                spec, one=shuffle, rounds=rounds, run=run, measured=measured, memory=memory
            )
            for name, fit in fits.items():
                measured.add(
                    f"{CONTROL}{name}",
                    fit.router,
                    outcomes=one.data.test,
                    skip_refused=spec.skip_refused,
                )


def _fits(
    spec: EvaluateSpec,
    *,
    one: Round,
    rounds: Rounds,
    run: Run,
    measured: Measured,
    memory: VectorMemory,
) -> dict[str, Fit]:
    """The methods fitted on one round's rows, told of the pair and of what is new to them."""
    return fit_all(
        spec,
        data=one.data,
        run=run,
        name=one.name,
        by_task=rounds.unseen_tasks,
        shared=_shared(rounds),
        memory=memory,
        refused=measured.refused if spec.skip_refused else None,
    )


def _shared(rounds: Rounds) -> dict[str, Any]:
    """Settings of every method that has such: what is new to it."""
    return {"unseen": "tasks"} if rounds.unseen_tasks else {}


def _shuffled(one: Round, spec: EvaluateSpec) -> Prepared:
    """The round's rows, with labels that have nothing to do with the queries fitted on."""
    battles = one.data.battles
    return replace(
        one.data,
        train=shuffled(one.data.train, seed=spec.seed),
        validation=shuffled(one.data.validation, seed=spec.seed + 1),
        battles=None if battles is None else shuffled(battles, seed=spec.seed + 2),
    )


def _registered(
    spec: EvaluateSpec, *, measured: Measured, outcomes: OutcomeMatrix
) -> Mapping[str, Prediction]:
    """What registered routers say of the measured rows."""
    found = {}
    for name, (version, checkpoint) in spec.routers.items():
        router = load_router(checkpoint, version=version)
        if spec.strong and not {spec.strong, spec.weak} <= set(router.candidates):
            router = transfer(router, strong=spec.strong, weak=spec.weak)
        found[name] = predict_complete(router, outcomes=outcomes)
        if router.reads_answer_of:
            measured.reads[name] = router.reads_answer_of
    return found


def predict_complete(router: Router, *, outcomes: OutcomeMatrix) -> Prediction:
    """What a router says, in the outcomes' columns; NaN for queries that lack a reward.

    Such are not measured, and an answer to read may be missing as well.
    """
    kept = np.asarray(outcomes.mask.all(axis=1))
    said = predict(router, outcomes=outcomes.take(kept))
    reward = np.full(outcomes.reward.shape, np.nan)
    tokens = reward.copy()
    reward[kept], tokens[kept] = said.reward, said.completion_tokens
    return Prediction(reward, tokens)


def gains_of_controls(rows: pl.DataFrame) -> list[str]:
    """A sentence for each method that gains on shuffled labels: something leaks, or it is luck."""
    gains = rows.filter(
        pl.col("method").str.starts_with(CONTROL)
        & (pl.col("task") == "all")
        & (pl.col("metric") == "lift_over_best_single")
        & (pl.col("ci_low") > 0)
    )
    return [
        f"{method} gains {100 * value:.1f} points over best_single on shuffled labels"
        for method, value in gains.select("method", "value").iter_rows()
    ]


def _write(evaluation: Evaluation, *, extras: Extras, output: Storage) -> dict[str, str]:
    """The files of the output folder; name → URI."""
    files = ("metrics.json", "table.json", "cost_quality.png", "report.html")
    outputs = {name: output.join(name) for name in files}
    write_metrics_json(evaluation.rows, uri=outputs["metrics.json"])
    table = json.dumps(short_table(evaluation), indent=1).encode()
    output.write(outputs["table.json"], table)
    output.write(outputs["cost_quality.png"], picture(evaluation))
    output.write(outputs["report.html"], report(evaluation, extras=extras))
    return outputs


if __name__ == "__main__":
    main(EvaluateSpec, work=on_cluster(run_evaluation))

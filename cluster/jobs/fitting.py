"""What training and evaluation share: pinned outcomes, clean splits, fitted methods."""

import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as package_version
from typing import Any, TypeVar

import numpy as np
import polars as pl
from pydantic import Field

from cluster.encoders.memory import VectorMemory
from cluster.errors import InputError
from cluster.evaluation.harness import Evaluation
from cluster.evaluation.table import table_rows
from cluster.folds import Folds, task_folds, text_folds
from cluster.jobs.kept_outcomes import outcomes_digest
from cluster.jobs.prepared import Prepared
from cluster.jobs.run import SCRATCH, Manifest, Part, Run
from cluster.jobs.spec import JobSpec
from cluster.jobs.unseen_rewards import validation_rewards
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.normalisation import Normalisation
from cluster.outcome import OutcomeMatrix, concatenate
from cluster.price import Price
from cluster.query import digest
from cluster.ray_cluster import connect
from cluster.routers.checkpoint import CheckpointMeta
from cluster.routers.context import FitContext
from cluster.routers.fit import Fit, fit_method, load_method, settings_to_try
from cluster.routers.lesson import Lesson, usual_settings
from cluster.routers.settings import GivenSettings
from cluster.routers.warm import Start

LOG = logging.getLogger("signalbox.fit")


class FittingSpec(JobSpec):
    """What the train and the evaluate job are told alike.

    Attributes:
        methods: names of the methods to fit.
        dataset, scorer, normalisation, temperature: whose outcomes, under which label.
        candidates: names to choose among; empty for all.
        prices: by candidate's name; empty: imported costs, if any.
        seed: of everything random.
        inputs: versions of the tables read.
        encoder, encoder_model: of every method that has an encoder.
        settings: method → setting → value, given and not to be chosen, or `{try: [values]}`.
        tagger: whose tags the queries carry; empty: the task.
        workers: Ray Train workers of a method that trains by gradient; 0: this process.
        folds: of the cross-validation that settings are chosen by; 0: on validation.
        preferences: dataset whose battles are learned from too; empty: none.
        judge: whose battles; empty: those of the only judge there is.
        strong, weak: the pair of candidates that methods for a pair learn, and that the metrics of
            pairs are about; empty: of two candidates, by their rewards on train.
    """

    methods: tuple[str, ...]
    dataset: str
    scorer: str
    normalisation: Normalisation
    candidates: tuple[str, ...]
    prices: dict[str, Price]
    seed: int
    inputs: dict[str, int]
    encoder: str = "lexical"
    encoder_model: str = ""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tagger: str = ""
    workers: int = 0
    folds: int = 0
    preferences: str = ""
    judge: str = ""
    strong: str = ""
    weak: str = ""
    temperature: float = 1.0

    @property
    def pair(self) -> dict[str, str]:
        """The settings that name the pair, where it is named."""
        return {"strong": self.strong, "weak": self.weak} if self.strong else {}

    @property
    def given(self) -> GivenSettings:
        """The settings that are not to be chosen."""
        return GivenSettings(self.encoder, self.encoder_model, self.settings)


SpecT = TypeVar("SpecT", bound=FittingSpec)


def on_cluster(work: Callable[[SpecT, Run], Manifest]) -> Callable[[SpecT, Run], Manifest]:
    """The work, in a process that has joined the cluster where the spec asks for more than one."""

    def joined(spec: SpecT, run: Run) -> Manifest:
        if spec.workers or spec.folds:
            connect()
        return work(spec, run)

    return joined


@dataclass(frozen=True)
class Label:
    """What a reward means: which scorer's, on which dataset, normalised how; `temperature` is that
    of the sigmoid."""

    dataset: str
    scorer: str
    normalisation: Normalisation = "none"
    temperature: float = 1.0


def outcomes_of(
    label: Label,
    *,
    lake: Lake,
    versions: dict[str, int],
    candidates: Sequence[str],
    tagger: str = "",
    answers: bool = False,
    also: Sequence[str] = (),
) -> OutcomeMatrix:
    """The outcome matrix a label describes; tags and answers on request, and train queries of other
    datasets."""
    return read_outcomes(
        lake,
        dataset=label.dataset,
        scorer=label.scorer,
        normalisation=label.normalisation,
        temperature=label.temperature,
        candidates=candidates,
        versions=versions,
        tagger=tagger,
        answers=answers,
        also=also,
    )


def fit_all(
    spec: FittingSpec,
    *,
    data: Prepared,
    run: Run,
    memory: VectorMemory,
    name: str = "methods",
    by_task: bool = False,
    shared: Mapping[str, Any] | None = None,
    refused: dict[str, str] | None = None,
    starts: Mapping[str, Start] | None = None,
) -> dict[str, Fit]:
    """Each method with its settings, given or chosen, fitted on train + validation.

    Args:
        spec: the methods and how they are fitted.
        data: what they are fitted on.
        run: where it is told how far they are.
        memory: vectors that slow encoders have given already.
        name: of these fits among those of the run.
        by_task: choose settings on tasks that the fit has not seen, where there are folds.
        shared: settings of every method that has such, where it was given no other, beside the
            pair that is named.
        refused: where a method that cannot be fitted here is noted, with the reason; those noted
            already are not tried. None: it is an error.
        starts: method → the version that its training goes on from.

    Raises:
        InputError: a method cannot be fitted.
    """
    given = replace(spec.given, shared=spec.pair | dict(shared or {}))
    fits = {}
    for number, method in enumerate(spec.methods):
        part = Part(name, number, len(spec.methods), unit="methods", note=method)
        run.progress(part, now=True)
        if method in (refused or {}):
            continue
        context = _context(spec, part=part, run=run, memory=memory)
        try:
            fits[method] = _fit(
                method,
                spec=spec,
                data=data,
                given=given,
                context=context,
                by_task=by_task,
                start=(starts or {}).get(method),
            )
        except InputError as error:
            if refused is None:
                raise
            refused[method] = str(error)
            LOG.warning("%s is left out: %s", method, error)
    run.progress(Part(name, len(spec.methods), len(spec.methods), unit="methods"), now=True)
    return fits


def _fit(
    method: str,
    *,
    spec: FittingSpec,
    data: Prepared,
    given: GivenSettings,
    context: FitContext,
    by_task: bool,
    start: Start | None,
) -> Fit:
    fixed, lesson = lesson_of(method, data=data, given=given)
    if start is not None:
        fixed, context = dict(start.settings), replace(context, start=start.state)
    if lesson.words:
        LOG.info("%s %s", method, lesson.words)
    seen = concatenate(lesson.train, lesson.validation)
    folds = settings_folds(seen, n_folds=spec.folds, by_task=by_task)
    fit = fit_method(
        method,
        train=lesson.train,
        validation=lesson.validation,
        seed=spec.seed,
        fixed=fixed,
        context=context,
        folds=folds,
    )
    LOG.info("%s: fitted with %s", method, fit.settings)
    return fit


def lesson_of(
    method: str, *, data: Prepared, given: GivenSettings
) -> tuple[dict[str, Any], Lesson]:
    """A method's fixed settings, those that battles ask for included, and the rows it learns from.

    Raises:
        InputError: the method is not installed, or there is nothing for it to learn from.
    """
    kind = load_method(method)
    fixed = given.of(method, method=kind)
    if data.battles is not None:
        fixed = usual_settings(kind, fixed, train=data.train, battles=data.battles) | fixed
    return fixed, data.lesson(settings_to_try(kind, fixed=fixed)[0])


def settings_folds(outcomes: OutcomeMatrix, *, n_folds: int, by_task: bool) -> Folds | None:
    """(n_queries,): folds to choose settings by; None where there are to be none.

    What is to be measured on tasks never seen chooses its settings on such: whole tasks are folds.
    """
    if not n_folds:
        return None
    if by_task and len(np.unique(outcomes.tasks)) > 1:
        return task_folds(outcomes.tasks, n_folds=n_folds, purpose="settings")
    return text_folds(outcomes.texts, n_folds=n_folds, purpose="settings")


def _context(spec: FittingSpec, *, part: Part, run: Run, memory: VectorMemory) -> FitContext:
    """Where a method is fitted, under a name that holds the hash of the spec and its inputs."""

    def tell(note: dict[str, Any]) -> None:
        run.progress(epochs_done(part, note=note))

    fits = digest([part.name])[:8]
    return FitContext(
        workers=spec.workers,
        gpus_per_worker=_gpus_per_worker(spec.workers),
        storage=run.uri(SCRATCH, "training"),
        name=f"{run.work_id}-{fits}-{part.note}",
        tell=tell,
        memory=memory,
    )


def epochs_done(part: Part, *, note: dict[str, Any]) -> Part:
    """How far the training of the part's method is, as a part of its own.

    `note`: as `FitContext.tell` is given it.
    """
    words = [
        f"{key.replace('_', ' ')} {value:.4g}"
        for key, value in note.items()
        if isinstance(value, float)
    ]
    return Part(
        f"{part.name}: {part.note}",
        note["epoch"],
        note.get("epochs", 0),
        unit="epochs at most",
        note=", ".join(words),
    )


def _gpus_per_worker(workers: int) -> float:
    """1 where the cluster that this process has joined has a GPU for each worker, else 0."""
    if not workers:
        return 0.0
    import ray

    there = ray.cluster_resources().get("GPU", 0.0) if ray.is_initialized() else 0.0
    return 1.0 if there >= workers else 0.0


def checkpoint_meta(fit: Fit, *, label: Label, data: Prepared, seed: int) -> CheckpointMeta:
    """What is known about a fitted router, for its checkpoint."""
    outcomes = data.taught(fit.settings)
    ids = dict(zip(outcomes.candidates, outcomes.candidate_ids, strict=True))
    return CheckpointMeta(
        candidate_ids=tuple(ids[name] for name in fit.router.candidates),
        label=vars(label),
        settings=fit.settings.model_dump(mode="json"),
        data={
            "outcomes": outcomes_digest(outcomes),
            "train": len(data.train),
            "validation": len(data.validation),
            "learned_from": len(outcomes),
            "near_duplicates_left_out": data.near_duplicates,
            "prompt_tokens_per_character": tokens_per_character(outcomes),
        },
        metrics={"validation_macro_reward": validation_rewards({"": fit}, data=data)[""]},
        code_version=package_version("signalbox"),
        seed=seed,
    )


def tokens_per_character(outcomes: OutcomeMatrix) -> dict[str, float | None]:
    """By candidate: prompt tokens a character of the query, to price a prompt before it is sent."""
    characters = outcomes.texts.str.len_chars().to_numpy().astype(float)
    ratios: dict[str, float | None] = {}
    for column, name in enumerate(outcomes.candidates):
        tokens = outcomes.prompt_tokens[:, column]
        known = ~np.isnan(tokens)
        total = characters[known].sum()
        ratios[name] = float(tokens[known].sum() / total) if total else None
    return ratios


def keep_histories(histories: Mapping[str, pl.DataFrame], *, run: Run) -> str | None:
    """Store how training went beside the spec; returns where, None where nothing was trained.

    Parquet: `method` and the columns of `cluster.routers.gradient.HISTORY_SCHEMA`.
    """
    named = [
        history.select(pl.lit(method).alias("method"), pl.all())
        for method, history in histories.items()
    ]
    if not named:
        return None
    buffer = io.BytesIO()
    pl.concat(named).write_parquet(buffer)
    run.storage.write(run.uri("history.parquet"), buffer.getvalue())
    return run.uri("history.parquet")


def short_table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The final table as JSON values."""
    return [json.loads(json.dumps(vars(row))) for row in table_rows(evaluation.rows)]

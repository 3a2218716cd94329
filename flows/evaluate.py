"""evaluate: methods or registered routers against all baselines, on any dataset of the lake."""

from typing import TYPE_CHECKING, ClassVar

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.errors import InputError
from cluster.jobs.evaluate import EvaluateSpec
from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from cluster.lake.outcomes import check_outcomes
from cluster.lake.prices import read_prices
from cluster.plugins import plugin_names
from cluster.ray_cluster import cluster_address
from cluster.storage import Storage
from flows.fit_fields import (
    NOT_ONE,
    EncoderField,
    EncoderModelField,
    FoldsField,
    JudgeField,
    NoneOrSeveral,
    PreferencesField,
    SettingsField,
    StrongField,
    TaggerField,
    WeakField,
    WorkersField,
    check_fit,
    fit_fields,
    fit_inputs,
)
from flows.params import (
    CandidatesField,
    FlowParams,
    NormalisationField,
    PricesField,
    ScorerField,
    SeedField,
    TemperatureField,
    check_output,
    check_ray,
    plugin_name,
)
from tasks.evaluated import show_methods, show_page
from tasks.jobs import ray_job
from tasks.report import say, show_table

# Always there, and nothing to fit.
BASELINES = ("random", "best_single")

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = plugin_name("routers", also=["all"], without=BASELINES)


class EvaluateParams(FlowParams):
    """Measure routers on a dataset's test split, beside every candidate and all baselines."""

    FIRST: ClassVar[tuple[str, ...]] = ("dataset", "output", "methods", "routers", "train_dataset")

    methods: list[MethodName] = Field(
        default=["all"],
        title="Methods",
        description="Methods to fit on the train split and measure; all: every one installed that "
        "can be fitted here",
    )
    routers: list[str] = Field(
        default=[],
        title="Registered routers",
        description="Versions (or champion) to measure as they are, beside the methods",
    )
    dataset: str = Field(
        default="default", title="Dataset", description="Whose test split is measured on"
    )
    train_dataset: str = Field(
        default="",
        title="Train dataset",
        description="What methods and baselines are fitted on. Empty: the dataset itself",
    )
    scorer: ScorerField = ""
    normalisation: NormalisationField = "none"
    temperature: TemperatureField = 1.0
    candidates: CandidatesField = Field(default=[])
    prices: PricesField = ""
    encoder: EncoderField = "lexical"
    encoder_model: EncoderModelField = ""
    settings: SettingsField = ""
    tagger: TaggerField = ""
    workers: WorkersField = 0
    folds: FoldsField = 0
    preferences: PreferencesField = ""
    judge: JudgeField = ""
    strong: StrongField = ""
    weak: WeakField = ""
    holdout_task: list[str] = Field(
        default=[],
        title="Held-out tasks",
        description="Fit without these tasks and measure on their test queries alone; each: every "
        "task in turn. Intervals are over tasks where there are several",
    )
    cross: NoneOrSeveral = Field(
        default=0,
        json_schema_extra=NOT_ONE,
        title="Cross-validation",
        description="Measure every query of the dataset, fitted on the others in so many folds, "
        "whatever splits it came with: for datasets that are all test. 0: the test split is "
        "measured",
    )
    group_folds: bool = Field(
        default=False,
        title="Folds of tasks",
        description="Measure every query of the dataset, fitted on other tasks, in 10 folds of "
        "whole tasks. Intervals are over tasks",
    )
    ranking: str = Field(
        default="",
        title="Ranking scorer",
        description="Scorer of a reward model: the baseline rmr runs every candidate and keeps the "
        "answer it likes best. Empty: no such baseline",
    )
    control: bool = Field(
        default=False,
        title="Control",
        description="Fit every method on shuffled labels too, shown as control:<method>: none of "
        "these may gain over best single",
    )
    output: str = Field(
        title="Output folder",
        description="Folder, local or s3://, for metrics.json, table.json, cost_quality.png and "
        "report.html",
    )
    seed: SeedField = 0


def check(params: EvaluateParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: lake, routers, prices, settings, datasets, scorer, tagger, output or Ray
            address are not what they must be, or two flags contradict each other.
    """
    lake = Lake.open(params.lake, create=False)
    for name in params.routers:
        _registered(name, lake=lake)
    read_prices(params.prices, lake=lake)
    check_fit(params, methods=() if "all" in params.methods else params.methods, lake=lake)
    _check_measured(params)
    for dataset in dict.fromkeys([params.train_dataset or params.dataset, params.dataset]):
        check_outcomes(lake, dataset=dataset, scorer=params.scorer)
    check_outcomes(lake, dataset=params.dataset, scorer=params.ranking)
    check_output(params.output, is_folder=True)
    check_ray(params)


def _check_measured(params: EvaluateParams) -> None:
    """Refuse flags that contradict each other."""
    flags = {
        "--holdout-task": params.holdout_task,
        "--cross": params.cross,
        "--group-folds": params.group_folds,
    }
    asked = [flag for flag, value in flags.items() if value]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)} are two ways to measure; give one of them")
    if asked and params.train_dataset not in ("", params.dataset):
        raise InputError(f"{asked[0]} cuts one dataset; leave out --train-dataset")
    if asked and params.routers:
        raise InputError(
            f"{asked[0]} measures queries that registered routers may have been trained on; leave "
            "out --routers"
        )


@flow(name="evaluate", persist_result=False)
def evaluate(params: EvaluateParams) -> Manifest:
    """Fit methods and measure them, and registered routers, on queries none was fitted on.

    Fitted on train + validation and measured on test, unless tasks are held out or every query is
    to be measured by cross-validation.
    """
    check(params)
    lake = Lake.open(params.lake, create=False)
    with cluster_address(params.ray_address) as address:
        evaluated = ray_job(_spec(params, lake=lake), address=address)
    show_methods(evaluated, where="the measured queries")
    show_page(evaluated)
    return {"flow": "evaluate", "lake": lake.storage.uri, **evaluated}


def _spec(params: EvaluateParams, *, lake: Lake) -> EvaluateSpec:
    return EvaluateSpec(
        lake=lake.storage.uri,
        methods=_methods(params),
        routers={name: _registered(name, lake=lake) for name in params.routers},
        dataset=params.dataset,
        train_dataset=params.train_dataset or params.dataset,
        scorer=params.scorer,
        train_scorer=params.scorer,
        normalisation=params.normalisation,
        temperature=params.temperature,
        candidates=tuple(params.candidates),
        prices=read_prices(params.prices, lake=lake),
        output=Storage.at(params.output).uri,
        seed=params.seed,
        inputs=lake.versions(fit_inputs(params)),
        holdout_tasks=tuple(params.holdout_task),
        cross=params.cross,
        group_folds=params.group_folds,
        ranking=params.ranking,
        control=params.control,
        skip_refused="all" in params.methods,
        **fit_fields(params),
    )


def _methods(params: EvaluateParams) -> tuple[str, ...]:
    """What to fit: baselines are always there and need no fit."""
    if "all" not in params.methods:
        return tuple(params.methods)
    return tuple(name for name in plugin_names("routers") if name not in BASELINES)


def _registered(name: str, *, lake: Lake) -> tuple[str, str]:
    row = registry.resolve(lake, version=name)
    return row["version"], row["checkpoint"]


def show_result(manifest: Manifest) -> None:
    """The short table, and what is to be known beside it, on stderr."""
    show_table(manifest["table"], title="measured queries")
    for router, n in manifest["left_out"]["seen_by_routers"].items():
        say(f"{n} queries are left out: they nearly repeat what {router} was fitted on")
    for method, why in manifest["left_out"]["methods"].items():
        say(f"{method} is left out: {why}")
    for alarm in manifest["alarms"]:
        say(alarm)

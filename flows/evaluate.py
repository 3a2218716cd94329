"""evaluate: methods or registered routers against all baselines, on any dataset of the lake."""

from typing import TYPE_CHECKING

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.jobs.evaluate import EvaluateSpec
from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, Normalisation, check_outcomes
from cluster.lake.prices import read_prices
from cluster.plugins import plugin_names
from cluster.ray_cluster import cluster_address
from cluster.storage import Storage
from flows.params import FlowParams, check_output, check_ray, plugin_name
from tasks.artifacts import table_artifact
from tasks.jobs import ray_job
from tasks.report import show_table

# Always there, and nothing to fit.
BASELINES = ("random", "best_single")

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = plugin_name("routers", also=["all"], without=BASELINES)


class EvaluateParams(FlowParams):
    """Measure routers on a dataset's test split, beside every candidate and all baselines."""

    methods: list[MethodName] = Field(
        default=["all"],
        title="Methods",
        description="Methods to fit on the train split and measure; all: every one installed",
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
    scorer: str = Field(
        default="",
        title="Scorer",
        description="Whose rewards count. Empty: the dataset's only one, or 'accuracy'",
    )
    normalisation: Normalisation = Field(
        default="none",
        title="Normalisation",
        description="none: rewards as they are; min_max: mapped to 0 to 1 over the dataset",
    )
    candidates: list[str] = Field(
        default=[],
        title="Candidates",
        description="Names of the candidates to choose among. Empty: all that have rewards",
    )
    prices: str = Field(
        default="",
        title="Prices",
        description="YAML file with a line 'name: {input: 0.1, output: 0.4}' a candidate (USD per "
        "million tokens), or a candidate file. Empty: the prices the candidates came with",
    )
    output: str = Field(
        title="Output folder",
        description="Folder, local or s3://, for metrics.json, table.json and cost_quality.png",
    )
    seed: int = Field(
        default=0, ge=0, title="Seed", description="Seed of everything random in fit and bootstrap"
    )


def check(params: EvaluateParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: lake, routers, prices, datasets, scorer, output or Ray address are not
            what they must be.
    """
    lake = Lake.open(params.lake, create=False)
    for name in params.routers:
        _registered(name, lake=lake)
    read_prices(params.prices, lake=lake)
    for dataset in dict.fromkeys([params.train_dataset or params.dataset, params.dataset]):
        check_outcomes(lake, dataset=dataset, scorer=params.scorer)
    check_output(params.output, is_folder=True)
    check_ray(params)


@flow(name="evaluate", persist_result=False)
def evaluate(params: EvaluateParams) -> Manifest:
    """Fit methods on train + validation and measure them, and registered routers, on test."""
    lake = Lake.open(params.lake, create=False)
    train_dataset = params.train_dataset or params.dataset
    spec = EvaluateSpec(
        lake=lake.storage.uri,
        methods=_methods(params),
        routers={name: _registered(name, lake=lake) for name in params.routers},
        dataset=params.dataset,
        train_dataset=train_dataset,
        scorer=params.scorer,
        train_scorer=params.scorer,
        normalisation=params.normalisation,
        candidates=tuple(params.candidates),
        prices=read_prices(params.prices, lake=lake),
        output=Storage.at(params.output).uri,
        seed=params.seed,
        inputs=lake.versions(INPUTS),
    )
    with cluster_address(params.ray_address) as address:
        evaluated = ray_job(spec, address=address)
    table_artifact(evaluated["table"], key="evaluation", description="Methods on the test split")
    return {"flow": "evaluate", "lake": lake.storage.uri, **evaluated}


def _methods(params: EvaluateParams) -> tuple[str, ...]:
    """What to fit: baselines are always there and need no fit."""
    if "all" not in params.methods:
        return tuple(params.methods)
    return tuple(name for name in plugin_names("routers") if name not in BASELINES)


def _registered(name: str, *, lake: Lake) -> tuple[str, str]:
    row = registry.resolve(lake, version=name)
    return row["version"], row["checkpoint"]


def show_result(manifest: Manifest) -> None:
    """The short table, on stderr."""
    show_table(manifest["table"], title="test queries")

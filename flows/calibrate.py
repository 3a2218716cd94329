"""calibrate: how cheaply a router keeps a share of a reference's quality, and how sure that is."""

from typing import Any, ClassVar

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.errors import InputError
from cluster.guarantee.scored import check_asked
from cluster.guarantee.spec import CalibrateSpec
from cluster.jobs.run import Manifest
from cluster.lake.context_limits import read_context_limits
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, check_outcomes
from cluster.lake.prices import read_prices
from cluster.policies.constraints import Constraints
from cluster.ray_cluster import cluster_address
from cluster.routers.checkpoint import read_manifest
from cluster.storage import Storage
from flows.floor_fields import Wish
from flows.params import AllowedField, FlowParams, MaxContextField, check_output, check_ray
from tasks.artifacts import link_artifact, markdown_artifact, png_artifact, table_artifact
from tasks.jobs import ray_job
from tasks.report import say, show_lines


class CalibrateParams(Wish, FlowParams):
    """Find the cheapest way to route that keeps a share of a model's quality, with a promise.

    Reads the calibration split alone, and leaves out what the router has seen of it.
    """

    FIRST: ClassVar[tuple[str, ...]] = ("router", "floor", "delta", "reference", "bound", "dataset")

    dataset: str = Field(
        default="",
        title="Dataset",
        description="Whose calibration rows are read. Empty: the router's own",
    )
    allowed: AllowedField = Field(default=[])
    max_context: MaxContextField = ""
    output: str = Field(
        default="",
        title="Output folder",
        description="Folder, local or s3://, for calibration.html and cost_quality.png. Empty: "
        "beside the record in the lake",
    )


def check(params: CalibrateParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: lake, router, prices, dataset, scorer, output or Ray address are not what
            they must be, or one of a pair is named alone.
    """
    lake = Lake.open(params.lake, create=False)
    if bool(params.strong) != bool(params.weak):
        raise InputError("--strong and --weak name a pair: give both, or neither")
    check_calibration(_spec(params, lake=lake), lake=lake)
    if params.output:
        check_output(params.output, is_folder=True)
    check_ray(params)


@flow(name="calibrate", persist_result=False)
def calibrate(params: CalibrateParams) -> Manifest:
    """Try a router's settings on calibration rows, the dearest first, and keep the last that holds.

    The record stays in the lake, where 'route --policy quality_floor' finds it.
    """
    check(params)
    lake = Lake.open(params.lake, create=False)
    with cluster_address(params.ray_address) as address:
        found = ray_job(_spec(params, lake=lake), address=address)
    show_calibration(found)
    return {"flow": "calibrate", "lake": lake.storage.uri, **found}


def _spec(params: CalibrateParams, *, lake: Lake) -> CalibrateSpec:
    router = registry.resolve(lake, version=params.router)
    names = (params.strong, params.weak) if params.strong else _candidates(router["checkpoint"])
    limits = read_context_limits(params.max_context, lake=lake)
    constraints = Constraints(
        allowed=tuple(params.allowed),
        context={name: limits[name] for name in names if name in limits},
    )
    constraints.check(names)
    spec = calibrate_spec(params, dataset=params.dataset, constraints=constraints, lake=lake)
    if not params.output:
        return spec
    return spec.model_copy(update={"output": Storage.at(params.output).uri})


def _candidates(checkpoint: str) -> tuple[str, ...]:
    return tuple(read_manifest(checkpoint).candidates)


def calibrate_spec(
    wish: Wish, *, dataset: str, constraints: Constraints, lake: Lake
) -> CalibrateSpec:
    """The job of a calibration, under the label that the router learned unless another is named.

    Args:
        wish: what is to be promised.
        dataset: whose rows; empty: those of the router's own.
        constraints: who may answer.
        lake: where all is.

    Raises:
        InputError: no such router, or a price file that is none.
    """
    router = registry.resolve(lake, version=wish.router)
    label = read_manifest(router["checkpoint"]).label
    names = (wish.strong, wish.weak) if wish.strong else _candidates(router["checkpoint"])
    prices = read_prices(wish.prices, lake=lake)
    normalisation, temperature = wish.normalisation, 1.0
    if normalisation == "as_trained":
        normalisation = label.get("normalisation", "none")
        temperature = label.get("temperature", 1.0)
    return CalibrateSpec(
        lake=lake.storage.uri,
        router=router["version"],
        checkpoint=router["checkpoint"],
        strong=wish.strong,
        weak=wish.weak,
        dataset=dataset or label.get("dataset", "default"),
        scorer=wish.scorer or label.get("scorer", ""),
        normalisation=normalisation,
        temperature=temperature,
        reward_max=wish.reward_max,
        inputs=lake.versions(INPUTS),
        # Only the router's own, so that the work stays the same when the lake gets others.
        prices={name: prices[name] for name in names if name in prices},
        constraints=constraints,
        floor=wish.floor,
        delta=wish.delta,
        bound=wish.bound,
        reference=wish.reference,
    )


def check_calibration(spec: CalibrateSpec, *, lake: Lake) -> None:
    """Make sure that there are rewards a promise could rest on, prices, and a reference.

    Raises:
        InputError: there is no such dataset, no rewards of the scorer on it, a candidate without
            a price, or a reference that is not there or not allowed.
    """
    pair = (spec.strong, spec.weak) if spec.strong else ()
    check_asked(spec, candidates=pair or _candidates(spec.checkpoint))
    check_outcomes(lake, dataset=spec.dataset, scorer=spec.scorer)


def show_calibration(found: Manifest) -> None:
    """The promise, the settings, the curve and the page in the UI."""
    table_artifact(found["table"], key="calibration", description="Settings of the path")
    markdown_artifact(found["promise"], key="promise", description="What may be promised")
    link_artifact(found["page"], key="calibration-page", description="The page of the calibration")
    png_artifact(
        Storage.at(found["picture"]).read_bytes(found["picture"]),
        key="calibration-curve",
        description="Cost against quality, with the chosen setting",
    )


def show_result(manifest: dict[str, Any]) -> None:
    """The settings, the promise and where to look, on stderr."""
    show_lines(_few(manifest["table"]), title="settings, the dearest first")
    for reason, n in manifest["left_out"].items():
        say(f"{n} rows are left out that {reason}")
    say(manifest["promise"])
    say(f"page: {manifest['page']}")


def _few(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ends, the chosen one and its neighbours, and some between."""
    chosen = next(place for place, row in enumerate(table) if row["verdict"] == "chosen")
    every = max(1, len(table) // 8)
    shown = {0, chosen - 1, chosen, chosen + 1, len(table) - 1, *range(0, len(table), every)}
    return [table[place] for place in sorted(shown) if 0 <= place < len(table)]

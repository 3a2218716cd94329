"""route: a query file → the same rows with the candidate that should answer each."""

from typing import Any, ClassVar, Literal

import polars as pl
from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.files.source import find_files
from cluster.guarantee.spec import CalibrateSpec
from cluster.jobs.answer import refuse_answers_that_are_there
from cluster.jobs.calibrate import kept_record
from cluster.jobs.claim import refuse_foreign_files
from cluster.jobs.ingest import pin_files
from cluster.jobs.run import Manifest, Run
from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.lake.tables import CANDIDATES
from cluster.plugins import load_plugin
from cluster.policies import load_policy
from cluster.policies.threshold import Threshold
from cluster.ray_cluster import cluster_address
from cluster.routers.checkpoint import read_manifest
from cluster.routers.router import Method
from cluster.routers.transfer import has_strong_first
from cluster.routing.candidate_files import batches_uri, refuse_batches_that_are_there
from cluster.routing.output import check_name, is_file, refuse_inputs, refuse_output_that_is_there
from cluster.routing.spec import RouteSpec
from cluster.storage import Storage
from flows.answer_fields import AnswerFields
from flows.calibrate import calibrate_spec, check_calibration, show_calibration
from flows.feedback_fields import FeedbackFields, feedback_fields
from flows.file_fields import FileFields, check_queries, query_column
from flows.floor_fields import Wish
from flows.params import FlowParams, check_output, check_ray
from flows.policy_fields import (
    PolicyFields,
    check_policy,
    constraints_of,
    policy_settings,
    tell_idle_rules,
)
from flows.route_answers import answer_routed, answers_uri, check_answers, served, show_answers
from tasks.jobs import ray_job
from tasks.routed import show_routed, tell_routed


class RouteFiles(FileFields, FlowParams):
    """What is routed, and where to."""

    output: str = Field(
        title="Output",
        description="A file (.parquet, .jsonl, .csv, also .gz, .zst), or a folder that gets a "
        "file for every 50,000 rows or fewer; local or s3://",
    )
    output_format: Literal["parquet", "jsonl"] = Field(
        default="parquet",
        title="Output format",
        description="Of the files in an output folder; a file has that of its extension",
    )


class RouteParams(PolicyFields, Wish, AnswerFields, FeedbackFields, RouteFiles):
    """Choose a candidate for every row of a query file; optionally let the chosen ones answer."""

    # A policy and what it reads, then who may answer, then the answers.
    FIRST: ClassVar[tuple[str, ...]] = (
        "input", "text_column", "output", "overwrite", "router", "policy",
        "lambda_usd", "usd_per_1000", "usd_total", "strong_share", "threshold", "accept_from",
        "floor", "delta", "reference", "bound", "calibrated_on", "scorer", "normalisation",
        "reward_max", "strong", "weak", "prices", "allowed", "max_context", "rules", "tag_column",
        "language", "fallback", "explore", "answer", "max_usd", "retry_errors", "verifier",
        "labels", "per_candidate",
    )  # fmt: skip

    prefix: str = Field(
        default="",
        title="Prefix",
        description="Put before the names of the columns that are added",
    )
    max_error_share: float = Field(
        default=0.05,
        ge=0.0,
        le=1.0,
        title="Error budget",
        description="Share of broken rows above which the run fails (0.05 is 5 %)",
    )
    overwrite: bool = Field(
        default=False, title="Overwrite", description="Replace an output that is there already"
    )


def check(params: RouteParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: output, lake, router, prices, input or Ray address are not what they must
            be.
    """
    check_name(params.output)
    lake = Lake.open(params.lake, create=False)
    if bool(params.strong) != bool(params.weak):
        raise InputError("--strong and --weak name a pair: give both, or neither")
    check_policy(params)
    _check_router(params, lake=lake)
    check_queries(params)
    check_output(params.output, is_folder=not is_file(params.output))
    calibration = _calibration(params, lake=lake)
    if calibration is not None:
        check_calibration(calibration, lake=lake)
    _refuse_outputs_that_are_there(params, lake=lake)
    check_ray(params)


def _check_router(params: RouteParams, *, lake: Lake) -> None:
    """Make sure the router is there, with the candidates and prices that the policy needs.

    Raises:
        InputError: it is not, or lacks them.
    """
    checkpoint = registry.resolve(lake, version=params.router)["checkpoint"]
    manifest = read_manifest(checkpoint)
    reads = _reads_answers(checkpoint)
    check_answers(params, policy=params.policy, reads_answers=reads, explore=params.explore)
    candidates = (params.strong, params.weak) if params.strong else tuple(manifest.candidates)
    constraints_of(params, candidates=candidates, lake=lake)
    prices = read_prices(params.prices, lake=lake)
    policy = load_policy(params.policy, settings=policy_settings(params))
    if params.policy != "quality_floor" or params.reference:
        policy.among(candidates)
    without = [name for name in candidates if name not in prices]
    if policy.needs_cost and without:
        raise InputError(
            f"--policy {params.policy} needs what every candidate costs, and there is no price for "
            f"{', '.join(without)}: name a file that has one with --prices"
        )
    is_pair = isinstance(policy, Threshold) and params.accept_from is None
    if is_pair and not params.strong and not has_strong_first(manifest.method):
        raise InputError(
            f"--policy {params.policy}: the router's method {manifest.method} does not say which "
            f"of {' and '.join(candidates)} is the strong one; name both with --strong and --weak"
        )


def _refuse_outputs_that_are_there(params: RouteParams, *, lake: Lake) -> None:
    output = Storage.at(params.output)
    answers = answers_uri(params.output)
    places = [output.uri, *([answers] if params.answer else [])]
    batches = [batches_uri(output.uri)] if params.per_candidate else []
    inputs = [file.uri for file in find_files(params.input)]
    for place in (*places, *batches):
        refuse_inputs(place, inputs=inputs)
    if params.overwrite:
        for folder in (*(place for place in places if not is_file(place)), *batches):
            refuse_foreign_files(folder, lake=lake.storage)
        return
    # Whether it is this very work's takes the input's digest, so look only where something is.
    if not any(map(output.filesystem().exists, (*places, *batches))):
        return
    spec = _spec(params, lake=lake, settings=_settings(params, lake=lake))
    run = Run.of(spec)
    refuse_output_that_is_there(spec, run=run)
    refuse_batches_that_are_there(spec, run=run)
    if params.answer:
        refuse_answers_that_are_there(answers, work=run.work_id, lake=lake.storage)


@flow(name="route", persist_result=False)
def route(params: RouteParams) -> Manifest:
    """Route a query file with a registered router under a policy.

    Every row keeps its columns and gets the candidate, the expected rewards, the expected cost
    and the router's version. Rows that cannot be read go to a quarantine file.
    """
    check(params)
    lake = Lake.open(params.lake, create=False)
    # What is calibrated is what routes, whoever is promoted meanwhile.
    version = registry.resolve(lake, version=params.router)["version"]
    params = params.model_copy(update={"router": version})
    calibration = _calibration(params, lake=lake)
    with cluster_address(params.ray_address) as address:
        settings = policy_settings(params)
        if calibration is not None:
            found = ray_job(calibration, address=address)
            show_calibration(found)
            settings = found["policy"]
        spec = _spec(params, lake=lake, settings=settings)
        routed = ray_job(spec, address=address)
        answers = None
        if params.answer:
            answers = answer_routed(params, routed=routed, spec=spec, lake=lake, address=address)
    show_routed(routed)
    return {"flow": "route", "lake": lake.storage.uri, **routed, "answers": answers}


def _calibration(params: RouteParams, *, lake: Lake) -> CalibrateSpec | None:
    """The calibration that a promise rests on; None for policies that promise nothing."""
    if params.policy != "quality_floor":
        return None
    return calibrate_spec(
        params,
        dataset=params.calibrated_on,
        constraints=constraints_of(params, candidates=_names(params, lake=lake), lake=lake),
        lake=lake,
    )


def _names(params: RouteParams, *, lake: Lake) -> tuple[str, ...]:
    """The candidates to choose among."""
    if params.strong:
        return (params.strong, params.weak)
    return tuple(_router_ids(registry.resolve(lake, version=params.router)["checkpoint"]))


def _settings(params: RouteParams, *, lake: Lake) -> dict[str, Any]:
    """The settings of the policy; those that were certified, where its calibration is there."""
    calibration = _calibration(params, lake=lake)
    record = None if calibration is None else kept_record(calibration)
    return policy_settings(params) if record is None else record.policy_settings()


def show_result(manifest: Manifest) -> None:
    """What the run came to, on stderr."""
    tell_routed(manifest)
    tell_idle_rules(manifest)
    if manifest["answers"]:
        show_answers(manifest["answers"])


def _spec(params: RouteParams, *, lake: Lake, settings: dict[str, Any]) -> RouteSpec:
    router = registry.resolve(lake, version=params.router)
    prices = read_prices(params.prices, lake=lake)
    own = (params.strong, params.weak) if params.strong else _router_ids(router["checkpoint"])
    queries = query_column(params)
    return RouteSpec(
        lake=lake.storage.uri,
        files=pin_files(params.input),
        output=Storage.at(params.output).uri,
        output_format=params.output_format,
        texts=queries.kind,
        text_column=queries.column,
        router=router["version"],
        checkpoint=router["checkpoint"],
        strong=params.strong,
        weak=params.weak,
        pair_ids=_pair_ids(params, lake=lake),
        policy=params.policy,
        policy_settings=settings,
        # Only the router's own, so that the work stays the same when the lake gets others.
        prices={name: prices[name] for name in own if name in prices},
        constraints=constraints_of(params, candidates=tuple(own), lake=lake),
        prefix=params.prefix,
        max_error_share=params.max_error_share,
        answer_rows=params.answer,
        rounds=_in_rounds(params, checkpoint=router["checkpoint"]),
        served=_served(params, router=router["checkpoint"], lake=lake),
        overwrite=params.overwrite,
        **feedback_fields(params),
    )


def _reads_answers(checkpoint: str) -> bool:
    """Whether a router decides when a candidate has answered."""
    method: type[Method] = load_plugin("routers", name=read_manifest(checkpoint).method)
    return method.needs_answers


def _in_rounds(params: RouteParams, *, checkpoint: str) -> bool:
    """Whether candidates answer one after the other, as a cascade asks them."""
    if params.policy != "cascade" or not params.answer:
        return False
    return bool(params.verifier) or _reads_answers(checkpoint)


def _served(params: RouteParams, *, router: str, lake: Lake) -> dict[str, Candidate | None]:
    """The candidates that get batch files of their own."""
    if not params.per_candidate:
        return {}
    pair = dict(zip(_pair_ids(params, lake=lake), (params.strong, params.weak), strict=False))
    ids = pair or {one: name for name, one in _router_ids(router).items()}
    return served(ids, lake=lake)


def _router_ids(checkpoint: str) -> dict[str, str]:
    """name → id of a router's candidates."""
    manifest = read_manifest(checkpoint)
    return dict(zip(manifest.candidates, manifest.candidate_ids, strict=True))


def _pair_ids(params: RouteParams, *, lake: Lake) -> tuple[str, ...]:
    """Candidate ids of the pair, where it is to answer.

    Raises:
        InputError: the lake has no candidate of a name, or several.
    """
    if not (params.strong and (params.answer or params.per_candidate)):
        return ()
    specs = newest_specs(lake.scan(CANDIDATES)).select("name", "candidate_id").collect()
    found = []
    for name in (params.strong, params.weak):
        ids = specs.filter(pl.col("name") == name)["candidate_id"].to_list()
        if len(ids) != 1:
            raise InputError(
                f"--answer: the lake has {len(ids)} candidates named '{name}', expected one; "
                "collect with a candidate file that has it, or leave --answer out"
            )
        found += ids
    return tuple(found)

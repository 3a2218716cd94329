"""route: a query file → the same rows with the candidate that should answer each."""

import json
from typing import Any, Literal

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.jobs.answer import AnswerSpec
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.ingest import pin_files
from cluster.jobs.route import RouteSpec, is_file, refuse_output_that_is_there
from cluster.jobs.run import Manifest, Run
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.lake.tables import CANDIDATES, COMPLETIONS
from cluster.price import Price
from cluster.ray_cluster import cluster_address
from cluster.storage import Storage
from flows.params import FlowParams, check_output, check_query_files, check_ray
from tasks.artifacts import table_artifact
from tasks.jobs import ray_job


class RouteParams(FlowParams):
    """Choose a candidate for every row of a query file; optionally let the chosen ones answer."""

    input: str = Field(
        title="Input",
        description="A file, glob or folder, local or s3://: Parquet, JSON Lines or CSV "
        "(also .gz, .zst), one query a row",
    )
    output: str = Field(
        title="Output",
        description="A file (.parquet, .jsonl, .csv, also .gz, .zst), or a folder that gets one "
        "Parquet file for every 50,000 rows; local or s3://",
    )
    text_column: str = Field(
        default="text", title="Text column", description="Column that holds the query"
    )
    policy: Literal["best", "utility"] = Field(
        default="best",
        title="Policy",
        description="best: the highest expected reward; utility: reward minus lambda times cost",
    )
    lambda_usd: float = Field(
        default=0.0,
        ge=0.0,
        title="Lambda",
        description="For policy utility: reward a query must gain for one more USD spent on it",
    )
    router: str = Field(
        default="champion",
        title="Router",
        description="A registered version, the beginning of one, or champion",
    )
    prices: str = Field(
        default="",
        title="Prices",
        description="Price or candidate file, USD per million tokens. Empty: the prices the "
        "candidates were collected with",
    )
    allowed: list[str] = Field(
        default=[],
        title="Allowed candidates",
        description="Names of the candidates that may be chosen. Empty: all",
    )
    prefix: str = Field(
        default="",
        title="Prefix",
        description="Put before the names of the columns that are added",
    )
    answer: int = Field(
        default=0,
        ge=-1,
        title="Answer",
        description="Let the chosen candidates answer so many of the rows, drawn evenly; 0: "
        "none, -1: all. The answers go to a file beside the output",
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
        SignalboxError: lake, router, prices, input, output or Ray address are not what they must
            be.
    """
    lake = Lake.open(params.lake, create=False)
    registry.resolve(lake, version=params.router)
    read_prices(params.prices, lake=lake)
    check_query_files(params.input, text_column=params.text_column)
    check_output(params.output)
    output = Storage.at(params.output)
    # Whether it is this very work's takes the input's digest, so look only where something is.
    if not params.overwrite and output.filesystem().exists(output.uri):
        spec = _spec(params, lake=lake)
        refuse_output_that_is_there(spec, run=Run.of(spec))
    check_ray(params)


@flow(name="route", persist_result=False)
def route(params: RouteParams) -> Manifest:
    """Route a query file with a registered router under a policy.

    Every row keeps its columns and gets the candidate, the expected rewards, the expected cost
    and the router's version. Rows that cannot be read go to a quarantine file.
    """
    lake = Lake.open(params.lake, create=False)
    spec = _spec(params, lake=lake)
    with cluster_address(params.ray_address) as address:
        routed = ray_job(spec, address=address)
        answers = None
        if params.answer:
            answers = _answer(params, routed=routed, prices=spec.prices, lake=lake, address=address)
    shares = [{"candidate": name, "share": share} for name, share in routed["shares"].items()]
    table_artifact(shares, key="routed", description=f"Shares of {routed['rows']} routed rows")
    return {"flow": "route", "lake": lake.storage.uri, **routed, "answers": answers}


def _spec(params: RouteParams, *, lake: Lake) -> RouteSpec:
    router = registry.resolve(lake, version=params.router)
    settings = {"lambda_usd": params.lambda_usd} if params.policy == "utility" else {}
    return RouteSpec(
        lake=lake.storage.uri,
        files=pin_files(params.input),
        output=Storage.at(params.output).uri,
        text_column=params.text_column,
        router=router["version"],
        checkpoint=router["checkpoint"],
        policy=params.policy,
        policy_settings=settings,
        prices=read_prices(params.prices, lake=lake),
        allowed=tuple(params.allowed),
        prefix=params.prefix,
        max_error_share=params.max_error_share,
        answer_rows=params.answer,
        overwrite=params.overwrite,
    )


def _answer(
    params: RouteParams,
    *,
    routed: Manifest,
    prices: dict[str, Price],
    lake: Lake,
    address: str,
) -> dict[str, Any]:
    """Generate what was drawn, with the engines `collect` uses, and write it beside the output."""
    generate = GenerateSpec(
        lake=lake.storage.uri,
        candidates=_candidates(routed, lake=lake),
        requests=routed["requests"],
        inputs=lake.versions([COMPLETIONS]),
        shard_rows=1024,
        max_error_share=params.max_error_share,
    )
    generated = ray_job(generate, address=address)
    spec = AnswerSpec(
        lake=lake.storage.uri,
        requests=routed["requests"],
        output=_answers_uri(params.output),
        prices=prices,
        inputs=lake.versions([COMPLETIONS, CANDIDATES]),
    )
    joined = ray_job(spec, address=address)
    return joined | {"generated": generated["candidates"]}


def _answers_uri(output: str) -> str:
    """`routed.parquet` → `routed.answers.parquet`; a folder → its `answers/answers.parquet`."""
    uri = Storage.at(output).uri
    if not is_file(uri):
        return f"{uri}/answers/answers.parquet"
    folder, name = uri.rsplit("/", 1)
    stem, ending = name.split(".", 1)
    return f"{folder}/{stem}.answers.{ending}"


def _candidates(routed: Manifest, *, lake: Lake) -> tuple[Candidate, ...]:
    """The specs of the candidates that were chosen, as they were collected."""
    chosen = [name for name, share in routed["shares"].items() if share > 0]
    found = []
    for name, spec in lake.read(CANDIDATES).select("name", "spec").iter_rows():
        if name in chosen:
            if "imported" in json.loads(spec):
                raise InputError(
                    f"--answer: candidate '{name}' was imported as scores and cannot answer; "
                    "collect with a candidate file that has it, or leave --answer out"
                )
            found.append(Candidate.model_validate_json(spec))
    return tuple(found)

"""collect: query files → queries → completions of every candidate → rewards and tags."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import polars as pl
from prefect import flow
from pydantic import Field

from cluster.candidate import Candidate, check_candidates, load_candidates
from cluster.errors import InputError
from cluster.jobs.choose import ChooseSpec
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.ingest import IngestSpec, pin_files
from cluster.jobs.label import LabelSpec
from cluster.jobs.run import Manifest
from cluster.jobs.spending import check_spendable
from cluster.labels import Labels, read_labels
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, scorers_on
from cluster.lake.tables import COMPLETIONS, QUERIES
from cluster.ray_cluster import cluster_address
from flows.collect_plan import existing_lake, make_plan, show_plan
from flows.params import FlowParams, LabelsField, check_query_files, check_ray, plugin_name
from tasks.artifacts import table_artifact
from tasks.jobs import ray_job
from tasks.quality import show_quality
from tasks.report import say

if TYPE_CHECKING:
    ScorerName = str
    TaggerName = str
else:
    ScorerName = plugin_name("scorers")
    TaggerName = plugin_name("taggers")


class CollectParams(FlowParams):
    """Run every candidate on the queries that it has not answered yet, and label the answers."""

    FIRST: ClassVar[tuple[str, ...]] = (
        "queries", "candidates", "dataset", "scorers", "taggers", "labels", "plan", "max_usd",
        "budget",
    )  # fmt: skip

    queries: str = Field(
        default="",
        title="Query files",
        description="A file, glob or folder, local or s3://: Parquet, JSON Lines or CSV "
        "(also .gz, .zst), one query a row. Empty: the queries that the dataset has in the lake "
        "already, such as those that 'route' copied there as feedback",
    )
    candidates: str = Field(
        title="Candidate file",
        description="YAML or TOML file with one entry a candidate: name, engine, model, ...",
    )
    dataset: str = Field(
        default="default",
        title="Dataset",
        description="Name the queries are kept under",
        min_length=1,
    )
    text_column: str = Field(
        default="text", title="Text column", description="Column that holds the query"
    )
    task_column: str = Field(
        default="task",
        title="Task column",
        description="Column that names the task of a query; may be missing",
    )
    reference_column: str = Field(
        default="reference",
        title="Reference column",
        description="Column with the right answer, which scorers compare with; may be missing",
    )
    messages_column: str = Field(
        default="messages",
        title="Messages column",
        description="Column with a chat (a list of role and content); may be missing",
    )
    scorers: list[ScorerName] = Field(
        default=["exact"], title="Scorers", description="Rewards to compute for every answer"
    )
    taggers: list[TaggerName] = Field(
        default=["task"], title="Taggers", description="Tags to compute for every query"
    )
    labels: LabelsField = ""
    shard_rows: int = Field(
        default=1024,
        ge=1,
        le=100_000,
        title="Rows a shard",
        description="Answers a worker gives between two writes; a killed worker loses at most "
        "these",
    )
    max_error_share: float = Field(
        default=0.05,
        ge=0.0,
        le=1.0,
        title="Error budget",
        description="Share of broken rows, of a file or of a candidate's answers, above which the "
        "run fails (0.05 is 5 %)",
    )
    retry_errors: bool = Field(
        default=False,
        title="Retry errors",
        description="Run the rows again that failed in an earlier run, and ask again for rewards "
        "and tags that are missing for a reason",
    )
    budget: int = Field(
        default=0,
        ge=0,
        title="Queries to run",
        description="Run the candidates on so many queries of the dataset, chosen to cover all "
        "kinds of query and, once some are labelled, where candidates are expected to differ; "
        "held-out splits are drawn evenly. What was begun before goes first. 0: all",
    )
    plan: bool = Field(
        default=False,
        title="Plan only",
        description="Show what is missing for each candidate, its tokens, USD and GPU-hours, and "
        "stop: nothing is run or written",
    )
    max_usd: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        title="Most to spend",
        description="USD after which no more is asked; what is answered by then is kept and "
        "labelled, and a rerun goes on. By the time of GPUs where they have an hourly price, else "
        "by tokens. 0: no cap",
    )


def check(params: CollectParams) -> None:
    """What can be told before anything is started; the lake comes last, for it is made here.

    Raises:
        SignalboxError: query files, candidate file, Ray address or lake are not what they must be.
    """
    if params.queries:
        check_query_files(params.queries, text_column=params.text_column)
    else:
        _check_dataset(params)
    check_candidates(params.candidates)
    check_labels(params)
    if params.plan:
        return
    if params.max_usd:
        check_spendable(load_candidates(params.candidates))
    check_ray(params)
    Lake.open(params.lake)


def _check_dataset(params: CollectParams) -> None:
    """Make sure that there is something to run where no query files are named.

    Raises:
        InputError: the lake has no query of the dataset.
    """
    lake = existing_lake(params.lake)
    names = lake.scan(QUERIES).select(pl.col("dataset").unique()).collect() if lake else None
    if names is None or params.dataset not in names["dataset"]:
        known = ", ".join(names["dataset"].sort()) if names is not None else ""
        raise InputError(
            f"dataset '{params.dataset}' has no query in the lake (datasets there: "
            f"{known or 'none'}): name query files with --queries, or another --dataset"
        )


def check_labels(params: CollectParams) -> None:
    """Make sure of scorers and taggers, and that what a scorer reads runs or has run.

    Raises:
        InputError: they are not what they must be.
        LakeError: the lake cannot be reached.
    """
    lake = existing_lake(params.lake)
    labels = _labels(params)
    names = {label.name for label in labels.scorers}
    names |= scorers_on(lake, dataset=params.dataset) if lake else set()
    for label in labels.scorers:
        for part in label.scorer().reads:
            if part not in names:
                raise InputError(
                    f"scorer '{label.name}' reads the rewards of '{part}', which does not run and "
                    "has not run on this dataset; name it with --scorers or in --labels. Scorers "
                    f"there: {', '.join(sorted(names))}"
                )


def run(params: CollectParams) -> Manifest:
    """The command: a plan needs neither Prefect nor Ray."""
    return _plan(params) if params.plan else collect(params)


@flow(name="collect", persist_result=False)
def collect(params: CollectParams) -> Manifest:
    """Ingest queries, run every candidate on what is missing, reward, tag, commit.

    What is in the lake already is not generated again, so a run that was killed, a new candidate
    or new queries cost only what is new.
    """
    check(params)
    if params.plan:
        planned = _plan(params)
        table_artifact(planned["plan"], key="plan", description="What is missing, by candidate")
        return planned
    candidates = load_candidates(params.candidates)
    ingest = _ingest_spec(params, lake=params.lake)
    lake = Lake.open(params.lake)
    with cluster_address(params.ray_address) as address:
        ingest = ingest.model_copy(update={"lake": lake.storage.uri})
        ingested = ray_job(ingest, address=address) if ingest.files else {}
        queries = lake.version(QUERIES)
        chosen: Manifest = {}
        if params.budget:
            choice = choose_spec(params, candidates=candidates, lake=lake)
            chosen = ray_job(choice, address=address)
        generate = generate_spec(
            params,
            candidates=candidates,
            queries=queries,
            requests=chosen.get("requests", ""),
            lake=lake,
        )
        generated = ray_job(generate, address=address)
        labelled = ray_job(label_spec(params, queries=queries, lake=lake), address=address)
    _show(generated, labelled)
    show_quality(labelled["quality"])
    return {
        "flow": "collect",
        "lake": lake.storage.uri,
        "dataset": params.dataset,
        "ingest": ingested,
        "choose": chosen,
        "generate": generated,
        "label": labelled,
        "quality": labelled["quality"],
    }


def _plan(params: CollectParams) -> Manifest:
    lake = existing_lake(params.lake)
    uri = lake.storage.uri if lake else params.lake
    spec = _ingest_spec(params, lake=uri)
    candidates = load_candidates(params.candidates)
    return make_plan(spec, candidates=candidates, lake=lake, budget=params.budget)


def _ingest_spec(params: CollectParams, *, lake: str) -> IngestSpec:
    """The files as they are now; none where the dataset's queries are in the lake."""
    return IngestSpec(
        lake=lake,
        files=pin_files(params.queries) if params.queries else (),
        dataset=params.dataset,
        text_column=params.text_column,
        task_column=params.task_column,
        reference_column=params.reference_column,
        messages_column=params.messages_column,
        max_error_share=params.max_error_share,
    )


def choose_spec(
    params: CollectParams, *, candidates: Sequence[Candidate], lake: Lake
) -> ChooseSpec:
    """Which queries of the dataset are run, where there is a budget."""
    scorers = _labels(params).scorers
    return ChooseSpec(
        lake=lake.storage.uri,
        dataset=params.dataset,
        candidates=tuple(candidates),
        size=params.budget,
        scorer=scorers[0].name if scorers else "",
        seed=0,
        inputs=lake.versions(INPUTS),
    )


def generate_spec(
    params: CollectParams,
    *,
    candidates: Sequence[Candidate],
    queries: int,
    requests: str,
    lake: Lake,
) -> GenerateSpec:
    """Who answers what: the dataset's queries, or those in `requests`.

    Args:
        params: the rest of it.
        candidates: who answers.
        queries: version of the table of queries.
        requests: as `GenerateSpec.requests`; empty for all queries of the dataset.
        lake: the lake.
    """
    return GenerateSpec(
        lake=lake.storage.uri,
        candidates=tuple(candidates),
        dataset="" if requests else params.dataset,
        requests=requests,
        inputs={"queries": queries, "completions": lake.version(COMPLETIONS)},
        shard_rows=params.shard_rows,
        max_error_share=params.max_error_share,
        retry_errors=params.retry_errors,
        max_usd=params.max_usd or None,
    )


def _labels(params: CollectParams) -> Labels:
    return read_labels(params.labels, scorers=params.scorers, taggers=params.taggers)


def label_spec(params: CollectParams, *, queries: int, lake: Lake) -> LabelSpec:
    """What rewards and tags the answers that are there now; `queries`: version of their table."""
    labels = _labels(params)
    return LabelSpec(
        lake=lake.storage.uri,
        dataset=params.dataset,
        scorers=labels.scorers,
        taggers=labels.taggers,
        inputs={"queries": queries, "completions": lake.version(COMPLETIONS)},
        retry_errors=params.retry_errors,
        reports=True,
    )


def _show(generated: Manifest, labelled: Manifest) -> None:
    columns = (
        "name", "required", "generated", "errors", "truncated", "completion_tokens", "cost_usd",
        "gpu_seconds", "gpu_cost_usd",
    )  # fmt: skip
    rows = [{key: row[key] for key in columns} for row in generated["candidates"]]
    table_artifact(rows, key="completions", description="Answers by candidate")
    rewards = [{"scorer": name, **counts} for name, counts in labelled["rewards"].items()]
    table_artifact(rewards, key="rewards", description="Rewards by scorer")


def show_result(manifest: Manifest) -> None:
    """The plan, or what was spent and what a cap has left undone, on stderr."""
    if "plan" in manifest:
        show_plan(manifest)
        return
    generated = manifest["generate"]
    if not generated.get("stopped"):
        return
    left = [
        f"{row['name']} {row['required'] - row['done']:,} of {row['required']:,}"
        for row in generated["candidates"]
        if row["stopped"]
    ]
    say(
        f"stopped at --max-usd: {generated['spent_usd']:.4g} USD are spent, everything answered is "
        f"kept. Left: {', '.join(left)} answers. Run it again to go on; --plan says what it costs"
    )

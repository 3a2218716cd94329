"""export: outcomes and choices as the files of other projects."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from cluster.exporters.exporter import Exporter, ExportRequest, write_export
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.plugins import load_plugin
from cluster.routing.output import refuse_what_is_there
from flows.params import PricesField, ScorerField, check_output, lake_field, plugin_name

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = plugin_name("exporters")


class ExportParams(BaseModel):
    """Write what the lake holds in the form in which another project reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = lake_field()
    format: FormatName = Field(
        title="Format",
        description="llmrouter: a folder with LLMRouter's routing data, queries and candidates; "
        "semantic_router: a JSON Lines file of semantic-router's benchmark records; routerarena: "
        "RouterArena's prediction file; any other: what its package says",
    )
    output: str = Field(
        title="Output",
        description="The folder or file to write; local or s3://bucket/prefix",
    )
    dataset: str = Field(
        default="",
        title="Dataset",
        description="For training formats: name of the dataset whose outcomes are exported",
    )
    scorer: ScorerField = ""
    splits: list[Literal["train", "validation", "calibration", "test"]] = Field(
        default=[],
        title="Splits",
        description="For training formats: whose queries. Empty: all for llmrouter, each in a file "
        "of its own; train and validation for semantic_router, which divides them itself",
    )
    queries: str = Field(
        default="",
        title="Queries",
        description="For routerarena: its query file, dataset/router_data.json of a clone",
    )
    router: str = Field(
        default="champion",
        title="Router",
        description="For routerarena: a registered version, the beginning of one, or champion",
    )
    policy: Literal["best", "utility"] = Field(
        default="best",
        title="Policy",
        description="For routerarena: best, the highest expected reward; utility, reward minus "
        "lambda times cost",
    )
    lambda_usd: float = Field(
        default=0.0,
        ge=0.0,
        title="Lambda",
        description="For policy utility: reward a query must gain for one more USD spent on it",
    )
    prices: PricesField = ""
    overwrite: bool = Field(
        default=False, title="Overwrite", description="Replace an output that is there already"
    )


def check(params: ExportParams) -> None:
    """What can be told before anything is read.

    Raises:
        SignalboxError: output, lake, dataset, router, prices or query file are not what they must
            be.
    """
    exporter = _exporter(params)
    check_output(params.output, is_folder=exporter.is_folder)
    lake = Lake.open(params.lake, create=False)
    read_prices(params.prices, lake=lake)
    exporter.check(_request(params), lake=lake)
    if not params.overwrite:
        refuse_what_is_there(params.output)


def export(params: ExportParams) -> dict[str, Any]:
    """Write the files; print one line a file on stderr and return the same as data.

    Raises:
        SignalboxError: there is nothing to export, or the output cannot be written.
    """
    lake = Lake.open(params.lake, create=False)
    made = _exporter(params).export(_request(params), lake=lake)
    outputs = write_export(made, params.output)
    shown = Table("file", "rows")
    for name, output in zip(made.files, outputs, strict=True):
        rows = made.rows.get(name)
        shown.add_row(output.rsplit("/", 1)[-1], "" if rows is None else f"{rows:,}")
    Console(stderr=True).print(shown)
    return {
        "flow": "export",
        "lake": lake.storage.uri,
        "format": params.format,
        "outputs": outputs,
        "rows": {name or outputs[0].rsplit("/", 1)[-1]: count for name, count in made.rows.items()},
        **made.told,
    }


def _exporter(params: ExportParams) -> Exporter:
    exporter: Exporter = load_plugin("exporters", name=params.format)()
    return exporter


def _request(params: ExportParams) -> ExportRequest:
    return ExportRequest(
        dataset=params.dataset,
        scorer=params.scorer,
        splits=tuple(params.splits),
        queries=params.queries,
        router=params.router,
        policy=params.policy,
        policy_settings={"lambda_usd": params.lambda_usd} if params.policy == "utility" else {},
        prices=params.prices,
    )

"""import: what others measured or judged becomes queries, rewards and battles in the lake.

What users thought of answers becomes rewards on queries that are there.
"""

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import flow
from pydantic import Field

from cluster.errors import InputError
from cluster.importers.pickled import refuse_pickles
from cluster.jobs.import_table import ImportSpec, path_digest
from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from cluster.plugins import load_plugin
from cluster.query import MAX_CALIBRATION_SHARE
from cluster.ray_cluster import cluster_address
from flows.params import FlowParams, check_ray, plugin_name
from tasks.artifacts import table_artifact
from tasks.jobs import ray_job

VERDICTS = "verdicts"

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = plugin_name("importers")


class ImportParams(FlowParams):
    """Bring in scores that others computed, battles that they judged, or users' verdicts."""

    format: FormatName = Field(
        title="Format",
        description="routerdc, routellm, llmrouter: a clone of that repository as it is, or any "
        "of its files; embedllm, sprout, llmrouterbench: the published files as they are; "
        "routerbench, routereval: the published pickles, which are not opened, as Parquet and as "
        "JSON; table: Parquet, CSV or JSON Lines with one column a candidate, or one row "
        "a query and candidate; battles: an arena's files as published, or a table with text, "
        "model_a, model_b and winner (or outcome, 0 to 1); verdicts: what users thought of "
        "answers, such as a routed file with a column thumb (or score, edit, edited, ticket) "
        "added; any other: what its package says",
    )
    path: str = Field(title="Path", description="The folder or file to read")
    dataset: str = Field(
        default="",
        title="Dataset",
        description="Name the queries are kept under. Default: the format's name. For verdicts: "
        "whose queries may be meant. Default: those of all datasets",
    )
    split: Literal["", "train", "validation", "calibration", "test"] = Field(
        default="",
        title="Split",
        description="Split of every row. Default: what the files say; where they say nothing, test "
        "for scores, and train for battles, which are there to be learned from. Of train a tenth "
        "becomes validation, by the text's hash",
    )
    calibration: float = Field(
        default=0.0,
        ge=0.0,
        le=MAX_CALIBRATION_SHARE,
        title="Calibration share",
        description="Share of the imported train rows that becomes calibration (0.1 is 10 %)",
    )
    text_column: str = Field(
        default="",
        title="Text column",
        description="For formats table, battles, verdicts and llmrouterbench: the column that "
        "holds the query. Default: the first of text, question, prompt, query that is there; of "
        "battles a conversation before these; of llmrouterbench prompt",
    )


def check(params: ImportParams) -> None:
    """What can be told before anything is started; the lake comes last, for it is made here.

    Raises:
        SignalboxError: path, text column, Ray address or lake are not what they must be.
    """
    path_digest(params.path)
    refuse_pickles(params.path, form=params.format)
    if params.text_column and not _takes_text_column(params.format):
        raise InputError(
            f"--text-column: format {params.format} knows where its text is; leave the flag out"
        )
    if params.format == VERDICTS and (params.split or params.calibration):
        raise InputError(
            "--split and --calibration say where queries go, and verdicts are on queries that are "
            "there; leave them out"
        )
    check_ray(params)
    Lake.open(params.lake)


def _takes_text_column(form: str) -> bool:
    return "text_column" in signature(load_plugin("importers", name=form)).parameters


@flow(name="import", persist_result=False)
def import_tables(params: ImportParams) -> Manifest:
    """Bring in score tables (of a benchmark of routing, or plain), battles or users' verdicts.

    Rows that are in the lake already are left as they are.
    """
    check(params)
    lake = Lake.open(params.lake)
    spec = ImportSpec(
        lake=lake.storage.uri,
        format=params.format,
        path=str(Path(params.path).expanduser().absolute()),
        digest=path_digest(params.path),
        dataset=params.dataset or ("" if params.format == VERDICTS else params.format),
        split=params.split,
        calibration=params.calibration,
        options={"text_column": params.text_column} if params.text_column else {},
    )
    with cluster_address(params.ray_address) as address:
        imported = ray_job(spec, address=address)
    what = "Verdicts by candidate" if params.format == VERDICTS else "Queries by task and split"
    table_artifact(imported["counts"], key="imported", description=what)
    return {"flow": "import", "lake": lake.storage.uri, **imported}

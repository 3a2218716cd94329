"""What the parameters of every flow share."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cluster.errors import InputError
from cluster.files.reader import check_column
from cluster.files.source import find_files
from cluster.jobs.client import check_cluster
from cluster.normalisation import Normalisation
from cluster.plugins import Kind, plugin_names
from cluster.ray_cluster import given_address
from cluster.storage import Storage
from flows.form import FormParams


def lake_field() -> Any:
    """The field that names the lake, the same for every command."""
    return Field(
        default="",
        title="Lake",
        description="Where everything is kept: a local folder or s3://bucket/prefix. "
        "Empty: the environment's SIGNALBOX_LAKE, else ./lake",
    )


def plugin_name(kind: Kind, *, also: Collection[str] = (), without: Collection[str] = ()) -> Any:
    """The type of a field that takes the name of an installed plugin.

    What a user's package brings stands beside ours: as a choice in the UI and in the help, and in
    the words on a name that is unknown. For mypy such a field is a `str`.

    Args:
        kind: the kind of plugin.
        also: other words the field takes, shown first.
        without: plugins of the kind that the field does not take.
    """
    names = [name for name in plugin_names(kind) if name not in without]
    return Literal[(*also, *names)]


ScorerField = Annotated[
    str,
    Field(
        title="Scorer",
        description="Whose rewards count. Empty: the dataset's only one, or 'accuracy'",
    ),
]
LabelsField = Annotated[
    str,
    Field(
        title="Labels",
        description="YAML file of scorers and taggers with their settings: 'scorers: {helpful: "
        "{scorer: reward_model, model: ./rm}}', 'taggers: {...}'",
    ),
]
NormalisationField = Annotated[
    Normalisation,
    Field(
        title="Normalisation",
        description="none: rewards as they are; min_max: 0 to 1 by the least and the greatest; "
        "z_score: by mean and standard deviation; sigmoid: 0 to 1 by the z-score over "
        "--temperature, all by the rewards on train and validation; rank: the share of the other "
        "candidates' answers to the query that one beats",
    ),
]
TemperatureField = Annotated[
    float,
    Field(
        gt=0,
        allow_inf_nan=False,
        title="Temperature",
        description="Of --normalisation sigmoid: the smaller, the closer rewards are to 0 or 1",
    ),
]
CandidatesField = Annotated[
    list[str],
    Field(
        title="Candidates",
        description="Names of the candidates to choose among. Empty: all that have rewards",
    ),
]
PricesField = Annotated[
    str,
    Field(
        title="Prices",
        description="YAML file with a line 'name: {input: 0.1, output: 0.4}' a candidate (USD per "
        "million tokens), or a candidate file. Empty: the prices the candidates came with",
    ),
]
AllowedField = Annotated[
    list[str],
    Field(
        title="Allowed candidates",
        description="Names of the candidates that may be chosen. Empty: all",
    ),
]
MaxContextField = Annotated[
    str,
    Field(
        title="Maximum context",
        description="YAML file with a line 'name: tokens' a candidate, or a candidate file: a "
        "query whose prompt and expected answer are longer is not for it. Empty: the "
        "max_model_len that candidates came with; off: no limit",
    ),
]
SeedField = Annotated[
    int, Field(ge=0, title="Seed", description="Seed of everything random in the run")
]


class FlowParams(FormParams):
    """Parameters every flow has.

    One flat model a flow is its form in the UI, its flags and its YAML file.
    """

    lake: str = lake_field()
    ray_address: str = Field(
        default="",
        title="Ray address",
        description="Dashboard address of a Ray cluster, http://host:8265. Empty: the "
        "environment's SIGNALBOX_RAY_ADDRESS, else Ray is started on this machine for this run",
    )


def check_ray(params: FlowParams) -> None:
    """Make sure the Ray cluster that was named, if one was, answers.

    Raises:
        JobError: it does not.
    """
    address = given_address(params.ray_address)
    if address:
        check_cluster(address)


def check_query_files(pattern: str, *, text_column: str) -> None:
    """Make sure the query files are there and have the column of the text; reads little of them.

    Raises:
        InputError: nothing is there, a file is empty or damaged, or the column is not in it.
        LakeError: the S3 store or bucket cannot be reached.
    """
    for source in find_files(pattern):
        check_column(source, column=text_column, flag="--text-column")


def check_output(uri: str, *, is_folder: bool) -> None:
    """Make sure an output can be written; local folders are made when they are written to.

    Raises:
        InputError: a local folder cannot be made or written, or is a file, or a file is a folder.
        LakeError: the S3 store or bucket cannot be reached.
    """
    output = Storage.at(uri)
    if output.is_s3:
        output.check()
        return
    path = Path(output.uri)
    if path.is_dir() and not is_folder:
        raise InputError(f"{path}: is a folder, and a file is to be written; name another --output")
    folder = path if is_folder else path.parent
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise InputError(f"{path}: {there} is a file, not a folder; name another --output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{path}: the folder {there} is not writable; name another --output or change its "
            "permissions"
        )

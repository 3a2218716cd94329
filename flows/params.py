"""What the parameters of every flow share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cluster.files.reader import check_column
from cluster.files.source import find_files
from cluster.jobs.client import check_cluster
from cluster.ray_cluster import given_address
from cluster.storage import Storage


def lake_field() -> Any:
    """The field that names the lake, the same for every command."""
    return Field(
        default="",
        title="Lake",
        description="Where everything is kept: a local folder or s3://bucket/prefix. "
        "Empty: the environment's SIGNALBOX_LAKE, else ./lake",
    )


class FlowParams(BaseModel):
    """Parameters every flow has.

    One flat model a flow is its form in the UI, its flags and its YAML file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def check_output(uri: str) -> None:
    """Make sure the store of an output answers; local folders are made when they are written to.

    Raises:
        LakeError: the S3 store or bucket cannot be reached.
    """
    output = Storage.at(uri)
    if output.is_s3:
        output.check()

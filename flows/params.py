"""What the parameters of every flow share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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

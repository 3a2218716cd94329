"""An exporter turns what is in the lake into the files of another project."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.storage import Storage


class ExportRequest(BaseModel):
    """What is to be exported; a format reads of it what it needs.

    Attributes:
        dataset: name of the dataset whose outcomes are exported.
        scorer: whose rewards count; empty: the dataset's only one, or `accuracy`.
        splits: of the queries; empty for those that the format is meant to have.
        queries: a local file of queries to predict for.
        router: a registered version, the beginning of one, or `champion`.
        policy: name of the policy that chooses.
        policy_settings: its settings.
        prices: a price file or a candidate file; empty for the prices the candidates came with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = ""
    scorer: str = ""
    splits: tuple[str, ...] = ()
    queries: str = ""
    router: str = "champion"
    policy: str = "best"
    policy_settings: dict[str, Any] = Field(default_factory=dict)
    prices: str = ""


@dataclass(frozen=True)
class Export:
    """The files of an export.

    Attributes:
        files: name below the output → content, in the order of writing; a format of one file has
            one, whose name is empty.
        rows: name → rows in it, of the files that have rows.
        told: other facts for the manifest.
        stale: names below the output that an earlier export may have left and that would be taken
            for part of this one.
    """

    files: dict[str, bytes]
    rows: dict[str, int]
    told: dict[str, Any] = field(default_factory=dict)
    stale: tuple[str, ...] = ()


class Exporter(ABC):
    """A format. One subclass a format, an entry point of the group `signalbox.exporters`.

    Attributes:
        is_folder: whether the output is a folder of files, or one file.
    """

    is_folder: ClassVar[bool]

    @abstractmethod
    def check(self, request: ExportRequest, *, lake: Lake) -> None:
        """Refuse what can be told before anything is read.

        Raises:
            InputError: a setting is missing, or names what is not there.
        """

    @abstractmethod
    def export(self, request: ExportRequest, *, lake: Lake) -> Export:
        """The files.

        Raises:
            InputError: there is nothing to export, or a file that is read is not what it must be.
        """


def write_export(export: Export, output: str) -> list[str]:
    """Write the files, local or on S3, and return their addresses.

    Raises:
        InputError: one cannot be written.
    """
    place = Storage.at(output)
    outputs = {name: place.join(name) if name else place.uri for name in export.files}
    try:
        for name, content in export.files.items():
            place.write(outputs[name], content)
        for name in export.stale:
            place.delete(place.join(name))
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error}); name another --output") from error
    return list(outputs.values())

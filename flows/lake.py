"""lake: what the lake holds."""

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from cluster.lake.lake import Lake
from flows.params import lake_field


class LakeParams(BaseModel):
    """Show tables, rows, Delta versions, files and sizes of a lake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = lake_field()


def summary(params: LakeParams) -> dict[str, Any]:
    """Print one line a table on stderr; returns the same as data.

    Raises:
        LakeError: there is no lake, or it cannot be reached.
    """
    lake = Lake.open(params.lake, create=False)
    tables = lake.summaries()
    shown = Table("table", "rows", "version", "files", "MiB", title=lake.storage.uri)
    for table in tables:
        mib = f"{table.bytes / 2**20:.2f}"
        shown.add_row(table.table, f"{table.rows:,}", str(table.version), str(table.files), mib)
    Console(stderr=True).print(shown)
    return {"lake": lake.storage.uri, "tables": [asdict(table) for table in tables]}

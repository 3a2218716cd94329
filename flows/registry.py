"""registry list, show: routers and which one is champion; what moves it is `flows.champion`."""

import json
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table

from cluster import registry
from cluster.lake.lake import Lake
from flows.form import FormParams
from flows.params import lake_field

SHOWN = 12


class _RegistryParams(FormParams):
    lake: str = lake_field()


class ListParams(_RegistryParams):
    """List the registered routers, newest first."""


class ShowParams(_RegistryParams):
    """Show one router: its numbers and every event about it."""

    router: str = Field(
        default=registry.CHAMPION,
        title="Router",
        description="A version, the beginning of one, or champion",
    )


class PromoteParams(_RegistryParams):
    """Make a registered router champion: the one that 'route' uses by default."""

    router: str = Field(title="Router", description="A version or the beginning of one")
    why: str = Field(
        default="promoted by hand", title="Why", description="The reason, kept with the event"
    )


class RollbackParams(_RegistryParams):
    """Take the champion off and bring back the one before."""

    why: str = Field(
        default="rolled back by hand", title="Why", description="The reason, kept with the event"
    )


def list_versions(params: ListParams) -> dict[str, Any]:
    """Print one line a router on stderr; returns the same as data."""
    versions = registry.versions(Lake.open(params.lake, create=False))
    shown = Table("version", "alias", "method", "dataset", "macro accuracy", "registered")
    for row in versions.iter_rows(named=True):
        metrics = json.loads(row["metrics"] or "{}")
        macro = metrics.get("macro_accuracy")
        shown.add_row(
            row["version"][:SHOWN],
            row["alias"],
            row["method"],
            row["dataset"],
            "" if macro is None else f"{macro:.4f}",
            row["at"],
        )
    Console(stderr=True).print(shown)
    return {"versions": versions.drop("metrics").to_dicts()}


def show(params: ShowParams) -> dict[str, Any]:
    """Print everything known about a router.

    Raises:
        InputError: no such version.
    """
    lake = Lake.open(params.lake, create=False)
    row = registry.resolve(lake, version=params.router)
    events = registry.history(lake, version=row["version"])
    shown = row | {"metrics": json.loads(row["metrics"] or "{}")}
    Console(stderr=True).print_json(json.dumps(shown))
    columns = ["at", "event", "who", "why", "parent"]
    return shown | {"events": events.select(columns).to_dicts()}

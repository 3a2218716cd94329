"""Finding a scorer, tagger, encoder, router, engine, importer or exporter by name.

All of ours and all of a user's are entry points of an installed package, in the group
`signalbox.<kind>`; a package that declares one is used without touching this project.
"""

from importlib.metadata import entry_points
from typing import Any, Literal

from cluster.errors import InputError

Kind = Literal["engines", "scorers", "taggers", "encoders", "routers", "importers", "exporters"]


def plugin_names(kind: Kind) -> list[str]:
    """Names that can be asked for, sorted."""
    return sorted({point.name for point in entry_points(group=f"signalbox.{kind}")})


def load_plugin(kind: Kind, *, name: str) -> Any:
    """Import what stands behind `name`.

    Raises:
        InputError: nobody registered that name.
    """
    for point in entry_points(group=f"signalbox.{kind}"):
        if point.name == name:
            return point.load()
    known = ", ".join(plugin_names(kind)) or "none"
    raise InputError(f"{kind[:-1]} '{name}' is not installed; known: {known}")

"""How the lines of a report are told apart: by colour, by marker, and by dashes after a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.evaluation.baselines import BEST_SINGLE, ORACLE, TASK_LOOKUP

MUTED = "#7b8794"
# Ten that differ for most eyes, also on paper. More shades look alike; markers and dashes do not.
PALETTE = (
    "#2f6fb0",
    "#d1495b",
    "#3a8a4d",
    "#e08e1b",
    "#7b4fa3",
    "#17a2b8",
    "#8a5a3c",
    "#e377b8",
    "#9a9a1f",
    "#4b5a68",
)
# Seven and ten have no common divisor: seventy pairs of colour and marker before one returns.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
HATCHES = ("", "//", "..", "xx")


@dataclass(frozen=True)
class Style:
    """How one name is drawn.

    Attributes:
        colour, marker, dashes: of a line.
        hatch: of an area of the same colour.
    """

    colour: str = MUTED
    marker: str = "o"
    dashes: Any = "-"
    hatch: str = ""

    @property
    def line(self) -> dict[str, Any]:
        """For `plot`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dashes}


BASELINE_STYLES = {
    BEST_SINGLE: Style("#9aa5b1", "p", (0, (1.5, 1.2))),
    TASK_LOOKUP: Style("#1f2933", "h", (0, (1.5, 1.2))),
    ORACLE: Style("#c79a00", "*", (0, (1.5, 1.2))),
}


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style a name, the same in every picture of a report; the first 70 all differ."""
    return {
        name: Style(
            PALETTE[place % len(PALETTE)],
            MARKERS[place % len(MARKERS)],
            DASHES[place // len(PALETTE) % len(DASHES)],
            HATCHES[place // len(PALETTE) % len(HATCHES)],
        )
        for place, name in enumerate(names)
    }

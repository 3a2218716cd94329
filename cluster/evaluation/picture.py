"""Cost against quality, as a PNG: every candidate, the baselines, the routers with intervals."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.evaluation.baselines import ALL_BASELINES, CANDIDATE
from cluster.evaluation.harness import Evaluation
from cluster.evaluation.table import TableRow, table_rows

INK, MUTED, CANDIDATE_COLOUR, ROUTER_COLOUR = "#1f2933", "#7b8794", "#3e7cb1", "#c8553d"
# Directions and distances (points) tried in turn for a label: right, left, above, below, corners.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
DISTANCES = (7, 14, 22, 32, 44, 58, 74)
FONT_SIZE = 8.5
MOST_NAMES = 3
# Points that 5 inches hold with their labels; each more takes its own room.
ROOMY = 12


@dataclass(frozen=True)
class Mark:
    """How one kind of method is drawn."""

    colour: str
    shape: str
    size: float


CANDIDATES = Mark(CANDIDATE_COLOUR, "o", 7)
ROUTERS = Mark(ROUTER_COLOUR, "D", 8)
BASELINE = Mark(MUTED, "s", 6)


def picture(evaluation: Evaluation) -> bytes:
    """PNG of macro accuracy (percent, 95 % interval) against USD per 1,000 queries.

    The line joins the single candidates that no lottery of the same cost beats: what money alone
    buys. Where costs are not known it is a list of methods by accuracy.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = table_rows(evaluation.rows)
    priced = [row for row in rows if row.usd_per_1000 is not None]
    height = 5.2 + 0.12 * max(0, len(priced) - ROOMY) if priced else 1.2 + 0.32 * len(rows)
    figure = Figure(figsize=(8, height), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    if priced:
        _draw_plane(axes, priced, frontier=evaluation.frontier, canvas=canvas)
    else:
        _draw_list(axes, rows)
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()


def shown(method: str) -> str:
    """A method's name as it is drawn; a candidate's as it is, `$` would start a formula."""
    if method.startswith(CANDIDATE):
        return plain(method.removeprefix(CANDIDATE))
    return plain(method.replace("_", " "))


def plain(name: str) -> str:
    """A name as matplotlib must be given it."""
    return name.replace("$", r"\$")


def mark_of(method: str) -> Mark:
    """How a method is drawn."""
    if method.startswith(CANDIDATE):
        return CANDIDATES
    return BASELINE if method in ALL_BASELINES else ROUTERS


def _draw_plane(axes: Any, rows: list[TableRow], *, frontier: tuple[str, ...], canvas: Any) -> None:
    places = {row.method: (row.usd_per_1000, 100 * row.macro_accuracy) for row in rows}
    if frontier:
        hull = [places[f"{CANDIDATE}{name}"] for name in frontier]
        label = "mix of candidates, same cost"
        axes.plot(*zip(*hull, strict=True), "--", color=MUTED, linewidth=1.2, label=label)
    for row in rows:
        _draw_point(axes, row, place=places[row.method])
    axes.set_xlabel("cost, USD per 1,000 queries")
    axes.set_ylabel("accuracy, mean over tasks, %")
    axes.margins(x=0.14, y=0.14)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    _legend(axes)
    canvas.draw()
    axes.figure.set_layout_engine("none")
    _label_all(axes, places=_merged(places), rows=rows)


def _draw_point(axes: Any, row: TableRow, *, place: tuple[Any, Any], vertical: bool = True) -> None:
    mark = mark_of(row.method)
    value = 100 * row.macro_accuracy
    reach = [[value - 100 * row.low], [100 * row.high - value]]
    axes.errorbar(
        *place,
        **{"yerr" if vertical else "xerr": reach},
        fmt=mark.shape,
        color=mark.colour,
        markersize=mark.size,
        markeredgecolor="white",
        elinewidth=1.3 if mark is ROUTERS else 0.8,
        capsize=3 if mark is ROUTERS else 0,
        alpha=1.0 if mark is ROUTERS else 0.85,
        zorder=4 if mark is ROUTERS else 3,
    )


def _legend(axes: Any) -> None:
    for mark, label in ((CANDIDATES, "candidate"), (ROUTERS, "router"), (BASELINE, "baseline")):
        axes.plot([], [], mark.shape, color=mark.colour, markersize=mark.size, label=label)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=FONT_SIZE
    )


def _merged(places: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """One label a point: methods that fall on the same spot share it."""
    spots: dict[tuple[Any, Any], list[str]] = {}
    for method, place in places.items():
        spots.setdefault(place, []).append(shown(method))
    return {_shared_label(names): place for place, names in spots.items()}


def _shared_label(names: list[str]) -> str:
    """A dozen names in one line would run off the picture."""
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return " = ".join(names[:MOST_NAMES] + more)


def _label_all(axes: Any, *, places: dict[str, tuple[Any, Any]], rows: list[TableRow]) -> None:
    """Write every label at the nearest free spot, with a thin line where it is far away."""
    from matplotlib.patheffects import withStroke

    taken = [_obstacle(axes, row) for row in rows]
    for label, place in places.items():
        x, y, box = _free_spot(axes, label=label, place=place, taken=taken)
        taken.append(box)
        far = max(abs(x), abs(y)) > DISTANCES[1]
        axes.annotate(
            label,
            place,
            xytext=(x, y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=FONT_SIZE,
            color=INK,
            zorder=5,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.6} if far else None,
        )


def _free_spot(
    axes: Any, *, label: str, place: tuple[Any, Any], taken: list[Any]
) -> tuple[float, float, Any]:
    """Offset of a label's centre from its point, in points, and the box it takes on the canvas.

    Where everything is taken it stands where it hides least.
    """
    scale = axes.figure.dpi / 72
    x, y = axes.transData.transform(place)
    width, height = _text_size(axes, label)
    spots = []
    for distance in DISTANCES:
        for horizontal, vertical in DIRECTIONS:
            dx = horizontal * (distance + width / 2)
            dy = vertical * (distance + height / 2)
            box = _box(x + dx * scale, y + dy * scale, width * scale, height * scale)
            spots.append((dx, dy, box))
    frame = axes.get_window_extent()
    inside = [
        spot for spot in spots if frame.contains(*spot[2].min) and frame.contains(*spot[2].max)
    ] or spots
    hidden = [sum(spot[2].overlaps(other) for other in taken) for spot in inside]
    return inside[int(np.argmin(hidden))]


def _text_size(axes: Any, label: str) -> tuple[float, float]:
    """Width and height of a label, in points."""
    probe = axes.text(0, 0, label, fontsize=FONT_SIZE)
    box = probe.get_window_extent()
    probe.remove()
    scale = axes.figure.dpi / 72
    return box.width / scale, box.height / scale


def _obstacle(axes: Any, row: TableRow) -> Any:
    """The box a point and its interval take on the canvas."""
    usd = row.usd_per_1000
    (x, low), (_, high) = axes.transData.transform([(usd, 100 * row.low), (usd, 100 * row.high)])
    side = 9 * axes.figure.dpi / 72
    return _box(x, (low + high) / 2, side, max(high - low, side))


def _box(x: float, y: float, width: float, height: float) -> Any:
    """A box around its centre."""
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _draw_list(axes: Any, rows: list[TableRow]) -> None:
    """Methods by accuracy, the best on top."""
    rising = sorted(rows, key=lambda row: row.macro_accuracy)
    for height, row in enumerate(rising):
        _draw_point(axes, row, place=(100 * row.macro_accuracy, height), vertical=False)
    names = [shown(row.method) for row in rising]
    axes.set_yticks(range(len(names)), names, fontsize=FONT_SIZE)
    axes.set_xlabel("accuracy, mean over tasks, % (costs not known)")
    _legend(axes)

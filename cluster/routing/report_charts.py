"""The pictures of a run report, each an SVG in a string."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cluster.evaluation.charts import SMALL, Styles, figure, legend, svg
from cluster.evaluation.picture import INK, plain
from cluster.evaluation.styles import MUTED, PALETTE

MOST_LINES = 25
MOST_CLUSTERS = 16
LONGEST_NAME = 46
RUN_COLOUR = "#c8553d"


def shares_bars(shares: Mapping[str, float], *, looks: Styles) -> str:
    """A bar a candidate: its share of the rows."""
    names = list(shares)[:MOST_LINES]
    made, axes = figure(height=0.9 + 0.32 * len(names))
    places = np.arange(len(names))[::-1]
    drawn = axes[0, 0].barh(
        places,
        [shares[name] for name in names],
        height=0.62,
        color=[looks[name].colour for name in names],
    )
    labels = [f"{100 * shares[name]:.1f} %" for name in names]
    axes[0, 0].bar_label(drawn, labels, padding=4, fontsize=SMALL, color=INK)
    axes[0, 0].set_yticks(places, [short(name) for name in names], fontsize=SMALL)
    axes[0, 0].grid(visible=False, axis="y")
    axes[0, 0].set_xlim(0, 1.08)
    _percent(axes[0, 0].xaxis)
    axes[0, 0].set_xlabel("share of the queries", fontsize=SMALL)
    return svg(made)


def plane(
    always: Sequence[tuple[str, float, float]], *, run: tuple[float, float], looks: Styles
) -> str:
    """Predicted reward over cost: always one candidate, and this run.

    Args:
        always: name, USD per 1,000 queries, predicted mean reward.
        run: the same two of the run.
        looks: by candidate.
    """
    made, axes = figure(height=3.6)
    place = axes[0, 0]
    for name, usd, reward in always:
        look = looks[name]
        place.plot(
            usd,
            reward,
            marker=look.marker,
            color=look.colour,
            linestyle="",
            markersize=7,
            label=f"always {plain(name)}",
        )
    place.plot(*run, marker="*", color=RUN_COLOUR, linestyle="", markersize=15, label="this run")
    place.margins(x=0.1, y=0.15)
    place.set_xlim(left=min(0.0, place.get_xlim()[0]) if run[0] else None)
    place.set_xlabel("predicted cost, USD per 1,000 queries", fontsize=SMALL)
    place.set_ylabel("predicted mean reward", fontsize=SMALL)
    legend(made, place)
    return svg(made)


def tags_bars(
    tags: Sequence[Mapping[str, Any]], *, candidates: Sequence[str], looks: Styles
) -> str:
    """A bar a tag, cut by who answers its queries."""
    shown = list(tags[:MOST_LINES])
    made, axes = figure(height=1.2 + 0.3 * len(shown))
    places, left = np.arange(len(shown))[::-1], np.zeros(len(shown))
    for name in candidates:
        width = np.array([tag["shares"][name] for tag in shown])
        if not width.any():
            continue
        axes[0, 0].barh(
            places,
            width,
            left=left,
            height=0.7,
            color=looks[name].colour,
            hatch=looks[name].hatch,
            edgecolor="white",
            linewidth=0.5,
            label=plain(name),
        )
        left += width
    labels = [f"{short(tag['tag'])} ({tag['rows']:,})" for tag in shown]
    axes[0, 0].set_yticks(places, labels, fontsize=SMALL)
    axes[0, 0].set_xlim(0, 1)
    axes[0, 0].grid(visible=False, axis="y")
    _percent(axes[0, 0].xaxis)
    axes[0, 0].set_xlabel("share of the tag's queries", fontsize=SMALL)
    legend(made, axes[0, 0])
    return svg(made)


def drift_bars(names: Sequence[str], *, trained: Sequence[float], shares: Sequence[float]) -> str:
    """Two bars a cluster of training queries, those that moved most: its share then, and here."""
    moved = np.abs(np.array(shares) - np.array(trained))
    order = np.argsort(-moved, kind="stable")[:MOST_CLUSTERS]
    order = order[np.argsort(-np.array(trained)[order], kind="stable")]
    made, axes = figure(height=1.2 + 0.36 * len(order))
    places = np.arange(len(order))[::-1]
    for offset, values, colour, label in (
        (0.19, trained, MUTED, "training queries"),
        (-0.19, shares, PALETTE[0], "this file"),
    ):
        axes[0, 0].barh(
            places + offset,
            np.array(values)[order],
            height=0.36,
            color=colour,
            label=label,
        )
    axes[0, 0].set_yticks(places, [short(names[row]) for row in order], fontsize=SMALL)
    axes[0, 0].set_ylim(-0.6, len(order) - 0.4)
    axes[0, 0].grid(visible=False, axis="y")
    _percent(axes[0, 0].xaxis)
    axes[0, 0].set_xlabel("share of the queries", fontsize=SMALL)
    legend(made, axes[0, 0])
    return svg(made)


def short(name: str) -> str:
    """A name as matplotlib must be given it, on one line and cut where it is long."""
    name = " ".join(name.split())
    return plain(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))

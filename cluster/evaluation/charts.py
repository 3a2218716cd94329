"""The pictures of a report, each an SVG in a string; names are drawn as they are, no markup."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.evaluation.picture import INK, plain
from cluster.evaluation.styles import MUTED, PALETTE, Style, styles
from cluster.evaluation.table import TableRow
from cluster.outcome import FloatMatrix

WIDTH = 8.6
SMALL = 8.5
TINY = 7
# Points of a t-SNE picture are one image in the SVG: 1,500 circles would be half a megabyte.
DPI = 150
# A curve over every cut of 14,000 queries would be a megabyte; a marker on each would hide it.
DRAWN, MARKED = 300, 10
LEGEND_COLUMNS = 4
# Panels of a picture that are beside each other.
BESIDE = 3

Lines = Mapping[str, tuple[FloatMatrix, FloatMatrix]]
Styles = Mapping[str, Style]


def figure(*, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, (rows, columns)."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="#e4e7eb", linewidth=0.7)
        one.set_axisbelow(True)
        one.tick_params(labelsize=SMALL, colors=INK)
    return made, axes


def panels(count: int, *, height: float) -> tuple[Any, list[Any]]:
    """A figure and axes for so many pictures, three a row; those that are left over are gone."""
    columns = min(BESIDE, count)
    rows = -(-count // columns)
    made, axes = figure(height=height * rows, columns=columns, rows=rows)
    for place in axes.flat[count:]:
        place.set_visible(False)
    return made, list(axes.flat[:count])


def svg(made: Any) -> str:
    """The figure as an SVG element, its texts as texts; equal figures give equal bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "signalbox"}):
        FigureCanvasSVG(made).print_svg(content, metadata={"Date": None})
    text = content.getvalue()
    return text[text.index("<svg") :]


def curves(
    lines: Lines,
    *,
    points: Sequence[TableRow],
    x_label: str,
    y_label: str,
    looks: Styles,
    floor: tuple[FloatMatrix, FloatMatrix] | None = None,
) -> str:
    """A line a method; single candidates as numbered points with intervals, named below.

    `floor`: a line below which the plane is shaded.
    """
    made, axes = figure(height=5.4)
    if floor is not None:
        axes[0, 0].plot(*floor, color=MUTED, linewidth=0.8, label="mix of candidates by lot")
    for number, (name, (x, y)) in enumerate(lines.items()):
        kept = thinned(len(x))
        every = max(1, len(kept) // MARKED)
        axes[0, 0].plot(
            x[kept],
            y[kept],
            **looks.get(name, Style()).line,
            # Not all at the same places, where lines run together.
            markevery=(number % every, every),
            markersize=4,
            linewidth=1.3,
            label=plain(name),
        )
    for number, row in enumerate(points, start=1):
        low, high = row.macro_accuracy - row.low, row.high - row.macro_accuracy
        axes[0, 0].errorbar(
            row.usd_per_1000,
            row.macro_accuracy,
            yerr=[[low], [high]],
            fmt="none",
            ecolor=MUTED,
            elinewidth=0.8,
        )
        axes[0, 0].plot(
            row.usd_per_1000,
            row.macro_accuracy,
            linestyle="",
            marker=f"${number}$",
            color=INK,
            markersize=7,
            zorder=5,
            label=plain(row.method.partition(":")[2]),
        )
    if floor is not None:
        bottom = axes[0, 0].get_ylim()[0]
        axes[0, 0].fill_between(*floor, bottom, color="#eef1f4", zorder=0)
        axes[0, 0].set_ylim(bottom=bottom)
    axes[0, 0].set_xlabel(x_label, fontsize=SMALL)
    axes[0, 0].set_ylabel(y_label, fontsize=SMALL)
    legend(made, axes[0, 0])
    return svg(made)


def recovered(found: Lines, *, x_label: str, looks: Styles) -> str:
    """PGR over the share of strong calls, and how far each curve is above sending by lot.

    `found`: by method, shares and PGR.
    """
    made, axes = figure(height=5.0, columns=2)
    for number, (name, (share, pgr)) in enumerate(found.items()):
        kept = thinned(len(share))
        every = max(1, len(kept) // MARKED)
        for place, height in zip(axes[0], (pgr, pgr - share), strict=True):
            place.plot(
                share[kept],
                height[kept],
                **looks.get(name, Style()).line,
                markevery=(number % every, every),
                markersize=3.5,
                linewidth=1.1,
                label=plain(name),
            )
    axes[0, 0].set_ylabel("performance gap recovered (PGR)", fontsize=SMALL)
    axes[0, 1].set_ylabel("PGR above that of sending by lot", fontsize=SMALL)
    for place in axes[0]:
        place.set_xlabel(x_label, fontsize=SMALL)
    legend(made, axes[0, 0])
    return svg(made)


def thinned(n: int) -> npt.NDArray[np.int64]:
    """At most `DRAWN` of n positions, evenly, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, DRAWN)).round().astype(np.int64))


def accuracy_by_task(rows: pl.DataFrame, *, methods: Sequence[str], looks: Styles) -> str:
    """A line a task, a dot with its interval a method; `rows` have metric `accuracy`."""
    chosen = rows.filter((pl.col("metric") == "accuracy") & pl.col("method").is_in(list(methods)))
    tasks = chosen["task"].unique().sort(descending=True).to_list()
    step = 0.8 / max(len(methods), 1)
    made, axes = figure(height=max(2.2, 1.4 + len(tasks) * max(0.28, 0.09 * len(methods))))
    for number, method in enumerate(methods):
        own = chosen.filter(pl.col("method") == method)
        places = [tasks.index(task) for task in own["task"]]
        value = own["value"].to_numpy()
        reach = [value - own["ci_low"].to_numpy(), own["ci_high"].to_numpy() - value]
        look = looks.get(method, Style())
        axes[0, 0].errorbar(
            value,
            np.array(places) + 0.4 - step * (number + 0.5),
            xerr=np.maximum(reach, 0),
            fmt=look.marker,
            markersize=3.5,
            elinewidth=1,
            color=look.colour,
            label=plain(method),
        )
    axes[0, 0].set_yticks(range(len(tasks)), [plain(task) for task in tasks], fontsize=SMALL)
    axes[0, 0].grid(visible=False, axis="y")
    for border in range(len(tasks) - 1):
        axes[0, 0].axhline(border + 0.5, color="#cbd2d9", linewidth=0.7)
    axes[0, 0].set_ylim(-0.5, len(tasks) - 0.5)
    axes[0, 0].tick_params(axis="x", labeltop=len(tasks) > BESIDE)
    axes[0, 0].set_xlabel("mean reward of the task, 95 % interval", fontsize=SMALL)
    legend(made, axes[0, 0])
    return svg(made)


def training(histories: Mapping[str, Sequence[pl.DataFrame]], *, looks: Styles) -> str:
    """By epoch, a panel a method: its losses; and one of the validation scores of all.

    Losses of different methods are different things: on one axis most would be flat.

    Args:
        histories: by method, its trainings: one a round of the evaluation.
        looks: by method.
    """
    made, axes = panels(len(histories) + 1, height=2.5)
    for (name, trainings), place in zip(histories.items(), axes[1:], strict=True):
        look = looks.get(name, Style())
        for history in trainings:
            draw_history(place, history, metric="loss", split="train", color=MUTED, linestyle="--")
            draw_history(place, history, metric="loss", split="validation", color=look.colour)
            draw_history(
                axes[0],
                history,
                metric="score",
                split="validation",
                color=look.colour,
                marker=look.marker,
                label=plain(name) if history is trainings[0] else None,
            )
        place.set_title(f"{plain(name)}: loss", fontsize=SMALL, loc="left")
    axes[0].set_title("reward on validation, all", fontsize=SMALL, loc="left")
    for place in axes:
        place.set_xlabel("epoch", fontsize=SMALL)
        place.xaxis.get_major_locator().set_params(integer=True)
    legend(made, axes[0])
    return svg(made)


def draw_history(
    place: Any, history: pl.DataFrame, *, metric: str, split: str, **look: Any
) -> None:
    """One metric of a training by epoch."""
    part = history.filter((pl.col("metric") == metric) & (pl.col("split") == split)).sort("epoch")
    if part.height:
        place.plot(part["epoch"], part["value"], **({"marker": "."} | look), markersize=4)


def embeddings(
    planes: Mapping[str, FloatMatrix], *, tasks: npt.NDArray[np.str_], most: int = 10
) -> str:
    """Queries where each method's own representation puts them, (n, 2), by task."""
    made, axes = panels(len(planes), height=3.1)
    names, counts = np.unique(tasks, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")][:most].tolist()
    palette = styles(shown)
    others = f"{len(names) - len(shown)} other tasks"
    for place, (method, plane) in zip(axes, planes.items(), strict=True):
        for task in [None, *shown]:
            own = ~np.isin(tasks, shown) if task is None else tasks == task
            if not own.any():
                continue
            place.scatter(
                *plane[own].T,
                s=5,
                linewidths=0,
                color="#d3d9df" if task is None else palette[task].colour,
                label=others if task is None else plain(task),
                rasterized=True,
            )
        place.set_title(plain(method), fontsize=SMALL, loc="left")
        place.spines[:].set_visible(False)
        place.set_xticks([])
        place.set_yticks([])
    legend(made, axes[0], markerscale=3)
    return svg(made)


def reward_entropy(
    entropy: FloatMatrix, *, earned: Mapping[str, FloatMatrix], looks: Styles
) -> str:
    """How undecided the rewards are, and what methods earn where they are decided or not.

    Args:
        entropy: (n_queries,) nats, of each query's reward distribution over candidates.
        earned: method → (n_queries,), reward of its choice.
        looks: by method.
    """
    made, axes = figure(height=4.2, columns=2)
    axes[0, 0].hist(entropy, bins=30, color=PALETTE[0])
    axes[0, 0].set_xlabel("entropy of the reward distribution, nats", fontsize=SMALL)
    axes[0, 0].set_ylabel("queries", fontsize=SMALL)
    middles = np.unique(np.quantile(entropy, [0.1, 0.3, 0.5, 0.7, 0.9]))
    group = np.abs(entropy[:, None] - middles).argmin(axis=1)
    parts = [group == number for number in range(len(middles)) if (group == number).any()]
    for name, reward in earned.items():
        axes[0, 1].plot(
            [entropy[part].mean() for part in parts],
            [reward[part].mean() for part in parts],
            **looks.get(name, Style()).line,
            markersize=4,
            linewidth=1.3,
            label=plain(name),
        )
    axes[0, 1].set_xlabel("mean entropy of a group of queries, nats", fontsize=SMALL)
    axes[0, 1].set_ylabel("mean reward of the choice", fontsize=SMALL)
    legend(made, axes[0, 1])
    return svg(made)


def shares(route_shares: Mapping[str, Mapping[str, float]]) -> str:
    """A bar a method: to whom it sends its queries."""
    candidates = list(dict.fromkeys(name for part in route_shares.values() for name in part))
    looks = styles(candidates)
    made, axes = figure(height=1.0 + 0.24 * len(route_shares) + 0.1 * len(candidates))
    left = np.zeros(len(route_shares))
    places = np.arange(len(route_shares))[::-1]
    for candidate in candidates:
        width = np.array([part.get(candidate, 0.0) for part in route_shares.values()])
        axes[0, 0].barh(
            places,
            width,
            left=left,
            height=0.7,
            color=looks[candidate].colour,
            hatch=looks[candidate].hatch,
            edgecolor="white",
            linewidth=0.4,
            label=plain(candidate),
        )
        left += width
    axes[0, 0].set_yticks(places, [plain(name) for name in route_shares], fontsize=SMALL)
    axes[0, 0].set_ylim(-0.6, len(route_shares) - 0.4)
    axes[0, 0].set_xlim(0, 1)
    axes[0, 0].set_xlabel("share of the queries", fontsize=SMALL)
    legend(made, axes[0, 0], columns=3)
    return svg(made)


def legend(
    made: Any, axes: Any, *, columns: int = LEGEND_COLUMNS, markerscale: float = 1.0
) -> None:
    """A legend below the figure, where it hides nothing; none where there is nothing to name."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    made.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(columns, len(labels)),
        frameon=False,
        fontsize=TINY,
        markerscale=markerscale,
    )

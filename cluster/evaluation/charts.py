"""The pictures of a report, each an SVG in a string; names are drawn as they are, no markup."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.evaluation.picture import INK, MUTED
from cluster.evaluation.table import TableRow
from cluster.outcome import FloatMatrix

PALETTE = (
    "#c8553d",
    "#3e7cb1",
    "#588157",
    "#8e5572",
    "#e09f3e",
    "#2a9d8f",
    "#6d597a",
    "#b56576",
    "#457b9d",
    "#7f5539",
    "#b8a000",
    "#4c4c9d",
    "#d1719f",
    "#5fa8d3",
    "#94a35c",
    "#8c2f39",
)
WIDTH = 8.6
SMALL = 8.5
# Points of a t-SNE picture are one image in the SVG: 1,500 circles would be half a megabyte.
DPI = 150
# A curve over every cut of 14,000 queries would be a megabyte; its points are marked when few.
DRAWN, MARKED = 300, 40

Lines = Mapping[str, tuple[FloatMatrix, FloatMatrix]]


def colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour a method, the same in every picture of a report."""
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(methods)}


def plain(name: str) -> str:
    """A name as matplotlib must be given it: `$` would start a formula."""
    return name.replace("$", r"\$")


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
    lines: Lines, *, points: Sequence[TableRow], x_label: str, y_label: str, palette: dict[str, str]
) -> str:
    """A line a method; single candidates and baselines as points with intervals."""
    made, axes = figure(height=4.8)
    for name, (x, y) in lines.items():
        kept = thinned(len(x))
        axes[0, 0].plot(
            x[kept],
            y[kept],
            marker="." if len(x) <= MARKED else "",
            linewidth=1.6,
            color=palette.get(name, MUTED),
            label=plain(name),
        )
    for row in points:
        low, high = row.macro_accuracy - row.low, row.high - row.macro_accuracy
        axes[0, 0].errorbar(
            row.usd_per_1000,
            row.macro_accuracy,
            yerr=[[low], [high]],
            fmt="o",
            color=MUTED,
            markersize=4,
            elinewidth=0.8,
        )
        axes[0, 0].annotate(
            plain(row.method),
            (row.usd_per_1000, row.macro_accuracy),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=7,
            color=MUTED,
        )
    axes[0, 0].set_xlabel(x_label, fontsize=SMALL)
    axes[0, 0].set_ylabel(y_label, fontsize=SMALL)
    legend(axes[0, 0], beside=True)
    return svg(made)


def thinned(n: int) -> npt.NDArray[np.int64]:
    """At most `DRAWN` of n positions, evenly, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, DRAWN)).round().astype(np.int64))


def accuracy_by_task(rows: pl.DataFrame, *, methods: Sequence[str], palette: dict[str, str]) -> str:
    """A line a task, a dot with its interval a method; `rows` have metric `accuracy`."""
    chosen = rows.filter((pl.col("metric") == "accuracy") & pl.col("method").is_in(list(methods)))
    tasks = chosen["task"].unique().sort(descending=True).to_list()
    step = 0.8 / max(len(methods), 1)
    made, axes = figure(height=max(2.2, 0.5 + len(tasks) * max(0.3, 0.09 * len(methods))))
    for number, method in enumerate(methods):
        own = chosen.filter(pl.col("method") == method)
        places = [tasks.index(task) for task in own["task"]]
        value = own["value"].to_numpy()
        reach = np.clip([value - own["ci_low"].to_numpy(), own["ci_high"].to_numpy() - value], 0, 1)
        axes[0, 0].errorbar(
            value,
            np.array(places) + 0.4 - step * (number + 0.5),
            xerr=reach,
            fmt="o",
            markersize=3.5,
            elinewidth=1,
            color=palette.get(method, MUTED),
            label=plain(method),
        )
    axes[0, 0].set_yticks(range(len(tasks)), [plain(task) for task in tasks], fontsize=SMALL)
    axes[0, 0].set_xlabel("mean reward of the task, 95 % interval", fontsize=SMALL)
    legend(axes[0, 0], beside=True)
    return svg(made)


def training(histories: Mapping[str, pl.DataFrame], *, palette: dict[str, str]) -> str:
    """Losses (train dashed, validation solid) and validation scores, by epoch."""
    made, axes = figure(height=3.4, columns=2)
    for name, history in histories.items():
        for (split, metric), part in sorted(history.sort("epoch").group_by(["split", "metric"])):
            place = axes[0, 0] if metric == "loss" else axes[0, 1]
            place.plot(
                part["epoch"],
                part["value"],
                "--" if split == "train" else "-",
                marker=".",
                color=palette.get(name, MUTED),
                label=plain(name) if split == "validation" else None,
            )
    axes[0, 0].set_title("loss: train dashed, validation solid", fontsize=SMALL, loc="left")
    axes[0, 1].set_title("reward of the choice on validation", fontsize=SMALL, loc="left")
    for place in axes.flat:
        place.set_xlabel("epoch", fontsize=SMALL)
        place.xaxis.get_major_locator().set_params(integer=True)
    legend(axes[0, 1])
    return svg(made)


def embeddings(
    planes: Mapping[str, FloatMatrix], *, tasks: npt.NDArray[np.str_], most: int = 10
) -> str:
    """Queries where each method's own representation puts them, (n, 2), by task."""
    columns = min(3, len(planes))
    rows = -(-len(planes) // columns)
    made, axes = figure(height=3.2 * rows, columns=columns, rows=rows)
    names, counts = np.unique(tasks, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")][:most].tolist()
    palette = colours(shown)
    for place in axes.flat[len(planes) :]:
        place.set_visible(False)
    for place, (method, plane) in zip(axes.flat, planes.items(), strict=False):
        for task in [None, *shown]:
            own = ~np.isin(tasks, shown) if task is None else tasks == task
            place.scatter(
                *plane[own].T,
                s=5,
                linewidths=0,
                color=MUTED if task is None else palette[task],
                label=None if task is None else plain(task),
                rasterized=True,
            )
        place.set_title(plain(method), fontsize=SMALL, loc="left")
        place.set_xticks([])
        place.set_yticks([])
    handles = [one for one in axes.flat[0].collections if not one.get_label().startswith("_")]
    made.legend(
        handles=handles,
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=7,
        markerscale=3,
    )
    return svg(made)


def reward_entropy(
    entropy: FloatMatrix, *, earned: Mapping[str, FloatMatrix], palette: dict[str, str]
) -> str:
    """How undecided the rewards are, and what methods earn where they are decided or not.

    Args:
        entropy: (n_queries,) nats, of each query's reward distribution over candidates.
        earned: method → (n_queries,), reward of its choice.
    """
    made, axes = figure(height=3.2, columns=2)
    axes[0, 0].hist(entropy, bins=30, color=PALETTE[1])
    axes[0, 0].set_xlabel("entropy of the reward distribution, nats", fontsize=SMALL)
    axes[0, 0].set_ylabel("queries", fontsize=SMALL)
    middles = np.unique(np.quantile(entropy, [0.1, 0.3, 0.5, 0.7, 0.9]))
    group = np.abs(entropy[:, None] - middles).argmin(axis=1)
    parts = [group == number for number in range(len(middles)) if (group == number).any()]
    for name, reward in earned.items():
        axes[0, 1].plot(
            [entropy[part].mean() for part in parts],
            [reward[part].mean() for part in parts],
            marker="o",
            markersize=4,
            color=palette.get(name, MUTED),
            label=plain(name),
        )
    axes[0, 1].set_xlabel("mean entropy of a group of queries", fontsize=SMALL)
    axes[0, 1].set_ylabel("mean reward", fontsize=SMALL)
    legend(axes[0, 1])
    return svg(made)


def shares(route_shares: Mapping[str, Mapping[str, float]]) -> str:
    """A bar a method: to whom it sends its queries."""
    candidates = list(dict.fromkeys(name for part in route_shares.values() for name in part))
    palette = colours(candidates)
    made, axes = figure(height=0.9 + 0.3 * len(route_shares) + 0.12 * len(candidates))
    left = np.zeros(len(route_shares))
    places = np.arange(len(route_shares))[::-1]
    for candidate in candidates:
        width = np.array([part.get(candidate, 0.0) for part in route_shares.values()])
        axes[0, 0].barh(
            places, width, left=left, color=palette[candidate], label=plain(candidate), height=0.7
        )
        left += width
    axes[0, 0].set_yticks(places, [plain(name) for name in route_shares], fontsize=SMALL)
    axes[0, 0].set_xlim(0, 1)
    axes[0, 0].set_xlabel("share of the queries", fontsize=SMALL)
    made.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return svg(made)


def legend(axes: Any, *, beside: bool = False) -> None:
    """A legend where there is something to tell apart."""
    if not axes.get_legend_handles_labels()[1]:
        return
    where = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if beside else {"loc": "best"}
    axes.legend(frameon=False, fontsize=7, **where)

"""The pictures of a quality report, each an SVG in a string."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from cluster.evaluation.charts import SMALL, figure, legend, svg
from cluster.evaluation.picture import INK, plain
from cluster.evaluation.styles import MUTED, PALETTE
from cluster.outcome import FloatMatrix
from cluster.quality.complementarity import TaskGain
from cluster.quality.correlation import Correlation
from cluster.quality.coverage import KINDS, WORDS
from cluster.quality.decided import Decided

# From good to bad; what is missing is grey, as it is nobody's fault.
COLOURS = dict(
    zip(KINDS, ("#3a8a4d", "#e08e1b", "#7b4fa3", "#8fb3d9", "#d1495b", "#cbd2d9"), strict=True)
)
BEST, OWN, ORACLE = PALETTE[0], PALETTE[3], PALETTE[2]
# Names a column of a picture still holds.
MOST_LINES = 30
# Numbers in the squares of a heat map are legible up to here.
MOST_WRITTEN = 14


def coverage_bars(cells: pl.DataFrame) -> str:
    """A bar a candidate: what became of its cells. The worst first, as many as a picture holds."""
    total = pl.sum_horizontal(KINDS)
    shares = cells.select("candidate", *(pl.col(kind) / total for kind in KINDS))
    shown = shares.sort("rewarded", maintain_order=True).head(MOST_LINES)
    made, axes = figure(height=1.1 + 0.27 * shown.height)
    places = np.arange(shown.height)[::-1]
    left = np.zeros(shown.height)
    for kind in KINDS:
        width = shown[kind].to_numpy()
        if not cells[kind].sum():
            continue
        axes[0, 0].barh(
            places, width, left=left, height=0.7, color=COLOURS[kind], label=WORDS[kind]
        )
        left += width
    axes[0, 0].set_yticks(places, [plain(name) for name in shown["candidate"]], fontsize=SMALL)
    axes[0, 0].set_xlim(0, 1)
    _percent(axes[0, 0].xaxis)
    axes[0, 0].set_xlabel("share of the queries", fontsize=SMALL)
    axes[0, 0].grid(visible=False, axis="y")
    legend(made, axes[0, 0])
    return svg(made)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def ties_and_entropy(found: Decided, *, n_candidates: int) -> str:
    """Left, how many candidates share the best reward; right, how undecided the rewards are."""
    made, axes = figure(height=3.1, columns=2)
    counts = np.bincount(found.at_top, minlength=n_candidates + 1)[1:] / len(found.at_top)
    axes[0, 0].bar(np.arange(1, len(counts) + 1), counts, color=PALETTE[0], width=0.8)
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    _percent(axes[0, 0].yaxis)
    axes[0, 0].set_xlabel("candidates that share the best reward", fontsize=SMALL)
    axes[0, 0].set_ylabel("share of the queries", fontsize=SMALL)
    share = found.nats / found.most_nats
    bins = np.linspace(min(float(share.min()), 0.95), 1.0, 31)
    axes[0, 1].hist(share, bins=bins, weights=np.full(len(share), 1 / len(share)), color=PALETTE[3])
    _percent(axes[0, 1].yaxis)
    axes[0, 1].set_xlabel("entropy, as a share of the greatest: 1 is undecided", fontsize=SMALL)
    axes[0, 1].set_ylabel("share of the queries", fontsize=SMALL)
    return svg(made)


def heat_map(found: Correlation) -> str:
    """A square a pair of candidates; columns have the numbers of the rows."""
    n = min(len(found.candidates), MOST_LINES)
    # With itself everyone agrees.
    matrix = np.where(np.eye(n, dtype=bool), np.nan, found.matrix[:n, :n])
    made, axes = figure(height=1.2 + 0.3 * n)
    place = axes[0, 0]
    place.grid(visible=False)
    image = place.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    names = [f"{plain(name)} · {row}" for row, name in enumerate(found.candidates[:n], start=1)]
    place.set_yticks(range(n), names, fontsize=SMALL)
    place.set_xticks(range(n), [str(row) for row in range(1, n + 1)], fontsize=SMALL)
    place.spines[:].set_visible(False)
    if n <= MOST_WRITTEN:
        for row, column in np.argwhere(~np.isnan(matrix)):
            value = matrix[row, column]
            place.text(
                column,
                row,
                f"{value:.2f}".replace("-", "−"),
                ha="center",
                va="center",
                fontsize=SMALL - 1,
                color="white" if abs(value) > 0.6 else INK,
            )
    bar = made.colorbar(image, ax=place, shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return svg(made)


def gains(by_task: Sequence[TaskGain], *, best: str) -> str:
    """A line a task: from the best candidate of all, over the task's own best, to the oracle."""
    shown = list(by_task[:MOST_LINES])[::-1]
    made, axes = figure(height=1.3 + 0.28 * len(shown))
    place, lines = axes[0, 0], np.arange(len(shown))
    low = [one.best_single for one in shown]
    high = [one.oracle for one in shown]
    place.hlines(lines, low, high, color="#cbd2d9", linewidth=2.5, zorder=1)
    ends = [(one.gain.value - one.gain.low, one.gain.high - one.gain.value) for one in shown]
    place.errorbar(
        high,
        lines,
        xerr=np.array(ends).T,
        fmt="^",
        color=ORACLE,
        markersize=7,
        elinewidth=1,
        label="oracle: the best for each query",
    )
    own = [one.own_best_reward for one in shown]
    place.plot(own, lines, "D", color=OWN, markersize=5.5, label="the task's own best candidate")
    name = f"{plain(best)}, the best over all"
    place.plot(low, lines, "o", color=BEST, markersize=6, label=name)
    tasks = [f"{plain(one.task or 'no task')} ({one.n:,})" for one in shown]
    place.set_yticks(lines, tasks, fontsize=SMALL)
    place.set_ylim(-0.6, len(shown) - 0.4)
    place.grid(visible=False, axis="y")
    place.set_xlabel("mean reward", fontsize=SMALL)
    legend(made, place, columns=3)
    return svg(made)


def subset_curve(names: Sequence[str], *, oracle: FloatMatrix, whole: float) -> str:
    """The oracle of the first candidates of a list, one more a step, and that of all."""
    made, axes = figure(height=1.3 + 0.27 * len(names))
    place, lines = axes[0, 0], np.arange(len(names))[::-1]
    place.plot(oracle, lines, marker="o", color=PALETTE[0], linewidth=1.5, markersize=5)
    place.axvline(whole, color=MUTED, linewidth=1, linestyle="--", label="oracle of all candidates")
    labels = [f"{'+ ' if step else ''}{plain(name)}" for step, name in enumerate(names)]
    place.set_yticks(lines, labels, fontsize=SMALL)
    place.set_ylim(-0.6, len(names) - 0.4)
    place.set_xlabel("oracle of these candidates, mean reward", fontsize=SMALL)
    legend(made, place)
    return svg(made)


def levels(values: Mapping[str, float]) -> str:
    """A bar a mean reward, each with its number."""
    made, axes = figure(height=0.9 + 0.36 * len(values))
    places = np.arange(len(values))[::-1]
    numbers = list(values.values())
    drawn = axes[0, 0].barh(places, numbers, height=0.62, color=PALETTE[0])
    axes[0, 0].bar_label(drawn, fmt="%.3f", padding=4, fontsize=SMALL, color=INK)
    axes[0, 0].set_yticks(places, list(values), fontsize=SMALL)
    axes[0, 0].grid(visible=False, axis="y")
    axes[0, 0].margins(x=0.1)
    axes[0, 0].set_xlabel("mean reward", fontsize=SMALL)
    return svg(made)

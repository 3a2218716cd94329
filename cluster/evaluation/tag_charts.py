"""The pictures of the page on tags, each an SVG in a string."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl

from cluster.evaluation.charts import SMALL, figure, legend, svg
from cluster.evaluation.picture import plain
from cluster.evaluation.styles import PALETTE, styles
from cluster.outcome import FloatMatrix

LONGEST = 34
ROW = 0.24


def shortened(name: str) -> str:
    """A tag as it is drawn: cut, where it would leave no room for its bar."""
    return plain(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…")


def frequencies(frequency: pl.DataFrame, *, n_queries: int) -> str:
    """A bar a tag, as a share of all queries, with its number of queries behind it.

    `frequency`: `tag`, `queries`, in the order drawn.
    """
    with _any_script():
        made, axes = figure(height=0.8 + ROW * frequency.height)
        places = np.arange(frequency.height)[::-1]
        share = 100 * frequency["queries"].to_numpy() / max(1, n_queries)
        axes[0, 0].barh(places, share, height=0.7, color=PALETTE[0])
        for place, value, count in zip(places, share, frequency["queries"], strict=True):
            axes[0, 0].annotate(
                f"{count:,}",
                (value, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL - 1,
            )
        _name_rows(axes[0, 0], places, frequency["tag"].to_list())
        axes[0, 0].margins(x=0.08)
        axes[0, 0].set_xlabel("share of the queries, %", fontsize=SMALL)
        return svg(made)


def coverage(by_top: FloatMatrix, *, counts: Sequence[int]) -> str:
    """How many queries the most frequent tags cover, and how many tags queries have.

    Args:
        by_top: (n_tags + 1,), share of the queries with one of the k most frequent tags.
        counts: (n_queries,), number of tags of each query.
    """
    made, axes = figure(height=3.2, columns=2)
    axes[0, 0].plot(np.arange(len(by_top)), 100 * by_top, color=PALETTE[0], linewidth=1.5)
    axes[0, 0].set_xlabel("most frequent tags", fontsize=SMALL)
    axes[0, 0].set_ylabel("queries with one of them, %", fontsize=SMALL)
    axes[0, 0].set_ylim(0, 104)
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    number, queries = np.unique(np.asarray(counts), return_counts=True)
    axes[0, 1].bar(number, queries, width=0.8, color=PALETTE[0])
    axes[0, 1].set_xlabel("tags of a query", fontsize=SMALL)
    axes[0, 1].set_ylabel("queries", fontsize=SMALL)
    axes[0, 1].xaxis.get_major_locator().set_params(integer=True)
    return svg(made)


def rewards(rows: pl.DataFrame, *, tags: Sequence[str], candidates: Sequence[str]) -> str:
    """A line a tag, a dot a candidate: its mean reward with the interval.

    Args:
        rows: `tag`, `candidate`, `mean`, `low`, `high`.
        tags: those drawn, from the top.
        candidates: those drawn, in the order of the legend.
    """
    step = 0.7 / max(1, len(candidates))
    looks = styles(list(candidates))
    with _any_script():
        made, axes = figure(height=1.2 + (ROW + 0.07 * len(candidates)) * len(tags))
        places = np.arange(len(tags))[::-1]
        row_of = dict(zip(tags, places.tolist(), strict=True))
        for number, name in enumerate(candidates):
            own = rows.filter((pl.col("candidate") == name) & pl.col("tag").is_in(list(tags)))
            mean, low, high = (own[column].to_numpy() for column in ("mean", "low", "high"))
            offset = (len(candidates) - 1) / 2 - number
            axes[0, 0].errorbar(
                mean,
                [row_of[tag] + step * offset for tag in own["tag"]],
                xerr=np.nan_to_num([mean - low, high - mean]).clip(0),
                fmt=looks[name].marker,
                color=looks[name].colour,
                markersize=4,
                elinewidth=0.9,
                label=plain(name),
            )
        for place in places[:-1]:
            axes[0, 0].axhline(place - 0.5, color="#e4e7eb", linewidth=0.7)
        axes[0, 0].grid(visible=False, axis="y")
        _name_rows(axes[0, 0], places, tags)
        axes[0, 0].set_xlabel("mean reward", fontsize=SMALL)
        legend(made, axes[0, 0])
        return svg(made)


def _name_rows(axes: Any, places: Any, names: Sequence[str]) -> None:
    axes.set_yticks(places, [shortened(name) for name in names], fontsize=SMALL)
    axes.set_ylim(-0.6, len(names) - 0.4)


@contextmanager
def _any_script() -> Iterator[None]:
    """Texts stay texts, which a browser draws; that matplotlib's own font lacks them is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield

"""Cost against quality of a calibrated path, with the setting that was chosen: PNG and SVG."""

import io
from collections.abc import Mapping
from typing import Any

from cluster.evaluation.charts import SMALL, figure, legend, svg
from cluster.evaluation.picture import CANDIDATE_COLOUR, INK, MUTED, ROUTER_COLOUR, plain
from cluster.guarantee.record import Calibration

HEIGHT = 5.0


def picture(record: Calibration) -> bytes:
    """The curve as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    FigureCanvasAgg(drawn(record)).print_png(content)
    return content.getvalue()


def curve(record: Calibration) -> str:
    """The curve as an SVG element."""
    return svg(drawn(record))


def drawn(record: Calibration) -> Any:
    """Mean reward of every setting against its cost, with what it keeps for certain.

    Where costs are not known the axis is the price of a token, against the reference's.
    """
    made, axes = figure(height=HEIGHT)
    place = axes[0, 0]
    x = [_cost(record, usd=one.usd_per_1000, shares=one.shares) for one in record.settings]
    reward = [one.reward for one in record.settings]
    level = record.reference_reward
    least = [min(one.reward, one.at_least * level) for one in record.settings]
    _curve(place, record=record, x=x, reward=reward, least=least)
    place.axhline(
        record.policy.floor * level,
        color=INK,
        linestyle=":",
        linewidth=1.2,
        label=f"{record.policy.floor:g} of {plain(record.policy.reference)}",
    )
    _candidates(place, record=record)
    chosen = record.settings.index(record.chosen)
    place.plot(
        x[chosen],
        reward[chosen],
        marker="D",
        markersize=9,
        color=ROUTER_COLOUR,
        markeredgecolor="white",
        linestyle="",
        zorder=5,
        label="chosen" if record.certified else "chosen: no saving certified",
    )
    place.set_xlabel(
        "USD per 1,000 queries" if record.is_priced else "price of a token, reference = 100 %",
        fontsize=SMALL,
    )
    place.set_ylabel(f"mean reward on {record.rows:,} calibration rows", fontsize=SMALL)
    legend(made, place, columns=3)
    return made


def _cost(record: Calibration, *, usd: float | None, shares: Mapping[str, float]) -> float:
    """USD where known, else the price of a token in % of the reference's."""
    return usd if record.is_priced and usd is not None else 100 * record.token_price(shares)


def _curve(
    place: Any, *, record: Calibration, x: list[float], reward: list[float], least: list[float]
) -> None:
    """The certified part drawn through, the rest dashed; shaded down to the lower bound."""
    last = record.settings.index(record.chosen)
    place.fill_between(x, least, reward, color=ROUTER_COLOUR, alpha=0.12, linewidth=0)
    place.plot(
        x[last:], reward[last:], "--", color=MUTED, linewidth=1.3, label="tried, not certified"
    )
    place.plot(
        x[: last + 1],
        reward[: last + 1],
        color=ROUTER_COLOUR,
        linewidth=2,
        label=f"certified at {1 - record.policy.delta:g}",
    )
    place.plot([], [], color=ROUTER_COLOUR, alpha=0.2, linewidth=7, label="down to the lower bound")


def _candidates(place: Any, *, record: Calibration) -> None:
    """Every candidate alone, by number, the cheapest first."""
    known = {
        name: (_cost(record, usd=usd, shares={name: 1.0}), reward)
        for name, (reward, usd) in record.alone.items()
        if usd is not None or not record.is_priced
    }
    for number, name in enumerate(sorted(known, key=lambda one: known[one]), start=1):
        place.plot(
            *known[name],
            linestyle="",
            marker=f"${number}$",
            color=CANDIDATE_COLOUR,
            markersize=8,
            zorder=4,
            label=plain(name),
        )

"""The path: settings from "all to the reference" to "all to the cheapest", fixed beforehand.

A setting is a tau of `QualityFloor`. As tau rises more candidates are good enough, so every row
keeps its candidate or gets a cheaper one. The taus come from predictions on rows that were there
for training; not even the texts of the calibration rows have a part in them.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices
from cluster.policies.quality_floor import QualityFloor
from cluster.routers.router import Prediction

# Each step is then 2 % of what there is to save; a step more or less costs no confidence.
SETTINGS = 50
# Where the cost is looked at to place the settings.
LOOKED_AT = 400


def path(
    policy: QualityFloor,
    *,
    prediction: Prediction,
    texts: pl.Series,
    cost: FloatMatrix,
    allowed: BoolMatrix | None = None,
) -> tuple[float, ...]:
    """Rising taus, between which the expected cost falls by about the same; at most `SETTINGS`.

    Args:
        policy: with its reference, for the candidates at hand; its tau is not read.
        prediction: (n_queries, n_candidates), of rows that were trained on or selected by.
        texts: (n_queries,).
        cost: (n_queries, n_candidates), expected USD; NaN where unknown.
        allowed: (n_queries, n_candidates), who may be chosen.
    """
    column = policy.candidates.index(policy.reference)
    others = np.ones(prediction.reward.shape, dtype=np.bool_)
    if allowed is not None:
        others &= allowed
    others[:, column] = False
    gaps = (prediction.reward[:, [column]] - prediction.reward)[others]
    gaps = gaps[np.isfinite(gaps)]
    if not gaps.size:
        return ()
    steps = _between(np.unique(np.quantile(gaps, np.linspace(0, 1, LOOKED_AT))))
    dearest, *made = choices(
        policy,
        taus=[None, *steps.tolist()],
        prediction=prediction,
        texts=texts,
        cost=cost,
        allowed=allowed,
    )
    spent = np.array([_mean_price(policy, chosen=chosen, cost=cost) for chosen in made])
    whole = _mean_price(policy, chosen=dearest, cost=cost)
    saves = spent < whole
    return tuple(steps[saves][_even(spent[saves], whole=whole)].tolist())


def _between(gaps: FloatMatrix) -> FloatMatrix:
    """Middles between rising gaps, and a bit above the last: at a gap itself rounding decides."""
    above = gaps[-1] + max(1e-6 * (gaps[-1] - gaps[0]), 1e-9)
    return np.append((gaps[:-1] + gaps[1:]) / 2, above)


def choices(
    policy: QualityFloor,
    *,
    taus: Sequence[float | None],
    prediction: Prediction,
    texts: pl.Series,
    cost: FloatMatrix,
    allowed: BoolMatrix | None = None,
) -> list[Choices]:
    """(n_queries,) the chosen columns under each tau, by the very policy that routes.

    The first argument's own tau is not read; None stands for the reference alone.
    """
    return [
        policy.model_copy(update={"tau": tau}).choose(
            prediction, texts=texts, cost=cost, allowed=allowed
        )
        for tau in taus
    ]


def _mean_price(policy: QualityFloor, *, chosen: Choices, cost: FloatMatrix) -> float:
    """Mean USD, or mean rank by price where no cost is known."""
    price = np.where(np.isnan(cost).all(axis=1, keepdims=True), policy.ranks(), cost)
    return float(np.nanmean(price[np.arange(len(chosen)), chosen]))


def _even(spent: FloatMatrix, *, whole: float) -> Choices:
    """Of steps with these costs, not rising, those at which equal parts of the whole are saved.

    Each is the last step of its part: whatever saves nothing more is the same setting.
    """
    if not len(spent):
        return np.zeros(0, dtype=np.int64)
    parts = np.ceil((whole - spent) / (whole - spent[-1]) * SETTINGS)
    return np.flatnonzero(np.append(np.diff(parts) > 0, True)).astype(np.int64)

"""How much labels agree with what was expected of them, as a share of how much they usually do.

With y labels and e what was expected, both (n_queries, n_candidates), centred, the agreement is the
slope of y on e: 1 where e is right on average, 0 where y was shuffled, below 0 where it was turned
round. It is looked at in three ways, so that what leaves one alone shows in another:

- over queries: centred within each candidate. Which queries are hard?
- over candidates: centred within each query, then within each candidate. Who is better at what?
- over levels: y centred within each query, on the mean of e of each candidate. Who is better?

The first two do not see the level of a candidate: one that got worse over all tasks disagrees with
nothing there.
Queries are the units: the sums of a query's cells are independent, its cells are not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from cluster.outcome import BoolMatrix, FloatMatrix

View = Literal["queries", "candidates", "levels"]
VIEWS: tuple[View, ...] = ("queries", "candidates", "levels")
# Queries below which a mean of products is not near enough to normal.
FEWEST = 20


@dataclass(frozen=True)
class Slope:
    """A slope of labels on what was expected.

    Attributes:
        value: the slope.
        error: its standard error; infinite where it cannot be told.
        n: queries behind it.
    """

    value: float
    error: float
    n: int


NO_SLOPE = Slope(value=0.0, error=np.inf, n=0)


@dataclass(frozen=True)
class Share:
    """A slope as a share of the usual one.

    Attributes:
        value: the share; NaN where the usual slope is not known.
        at_most: upper bound.
        told: whether labels without any agreement would have been found out, more likely than not.
    """

    value: float
    at_most: float
    told: bool


UNTOLD = Share(value=float("nan"), at_most=np.inf, told=False)


def slope(labels: FloatMatrix, *, expected: FloatMatrix, view: View) -> Slope:
    """Of (n_queries, n_candidates), NaN where there is no label or nothing was expected."""
    known = ~np.isnan(labels + expected)
    y, e = (np.where(known, one, np.nan) for one in (labels, expected))
    if view == "levels":
        e = np.where(known, _means(e, axis=0), np.nan)
    y, e = _centred(y, view=view), _centred(e, view=view)
    rows = known.sum(axis=1) >= (1 if view == "queries" else 2)
    both, own = _row_sums(y * e)[rows], _row_sums(e * e)[rows]
    n, total = int(rows.sum()), float(own.sum())
    if n < FEWEST or total <= 1e-12 * max(n, 1):
        return NO_SLOPE
    value = float(both.sum() / total)
    residual = both - value * own
    error = float(np.sqrt(n / (n - 1) * (residual**2).sum()) / total)
    return Slope(value=value, error=error, n=n)


def share(found: Slope, *, usual: Slope, level: float, least: float) -> Share:
    """A slope as a share of the usual one, with an upper bound that is wrong with `level`'s chance.

    Args:
        found: of the labels in question.
        usual: of labels that are trusted.
        level: of the bound.
        least: the share that is to be told from none.
    """
    sure = stats.t.ppf(1 - level, max(min(found.n, usual.n) - 1, 1))
    # A usual slope that may be 0 is nothing to measure by.
    if not found.n or usual.value - sure * usual.error <= 0:
        return UNTOLD
    value = found.value / usual.value
    # That of a ratio, to first order (the delta method), at the share that is asked about.
    error = float(np.hypot(found.error, least * usual.error) / usual.value)
    return Share(value=value, at_most=float(value + sure * error), told=bool(sure * error < least))


def _centred(values: FloatMatrix, *, view: View) -> FloatMatrix:
    if view != "queries":
        values = values - _means(values, axis=1)
    return values if view == "levels" else values - _means(values, axis=0)


def _means(values: FloatMatrix, *, axis: int) -> FloatMatrix:
    known: BoolMatrix = ~np.isnan(values)
    count = known.sum(axis=axis, keepdims=True)
    total = np.where(known, values, 0.0).sum(axis=axis, keepdims=True)
    means: FloatMatrix = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return means


def _row_sums(values: FloatMatrix) -> FloatMatrix:
    sums: FloatMatrix = np.nansum(values, axis=1)
    return sums

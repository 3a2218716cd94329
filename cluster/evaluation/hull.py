"""AIQ: how good a method is over a whole range of budgets.

RouterBench (arXiv 2403.12031), section 3. A method is a set of policies, each a point of mean cost
and mean quality. Mixing two policies by lot reaches every point between them, and more money can
always be left unspent, so what the method offers for a budget is the non-decreasing convex hull
Q(c) of its points: the least concave, non-decreasing function above them. Average improvement in
quality is the hull's mean over the range of costs:

    AIQ = 1 / (c_max - c_min) * integral of Q(c) from c_min to c_max

The range is the same for all methods: from the cheapest candidate's cost to the dearest's. The hull
of the candidates alone is RouterBench's zero router: what money buys without looking at a query.
"""

import numpy as np

from cluster.outcome import FloatMatrix


def hull(cost: FloatMatrix, quality: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Costs, rising, and the hull's quality there; both (k, n_points), one row a set of points."""
    order = np.lexsort((quality, cost))
    cost = np.take_along_axis(cost, order, axis=1)
    best = np.maximum.accumulate(np.take_along_axis(quality, order, axis=1), axis=1)
    top = best.copy()
    n_points = cost.shape[1]
    for first in range(n_points):
        for last in range(first + 2, n_points):
            between = slice(first + 1, last)
            line = _line(cost, best, first=first, last=last, at=cost[:, between])
            np.maximum(top[:, between], line, out=top[:, between])
    return cost, top


def _line(
    cost: FloatMatrix, quality: FloatMatrix, *, first: int, last: int, at: FloatMatrix
) -> FloatMatrix:
    """Height of the chord from point `first` to point `last` at some costs between them."""
    width = cost[:, last] - cost[:, first]
    rise = quality[:, last] - quality[:, first]
    slope = np.divide(rise, width, out=np.zeros_like(width), where=width > 0)
    height: FloatMatrix = quality[:, [first]] + slope[:, None] * (at - cost[:, [first]])
    return height


def average_quality(
    cost: FloatMatrix, quality: FloatMatrix, *, low: FloatMatrix, high: FloatMatrix
) -> FloatMatrix:
    """(k,): AIQ of k sets of points, (k, n_points) each; NaN where the range is empty.

    Left of its first point a hull is taken as level; the sets here begin at the cheapest candidate.

    Args:
        cost: mean cost of each policy.
        quality: mean quality of each policy.
        low, high: (k,), the range of costs.
    """
    x, y = hull(cost, quality)
    inner = np.clip(x, low[:, None], high[:, None])
    at_inner = _heights(x, y, at=inner)
    area = (np.diff(inner, axis=1) * (at_inner[:, 1:] + at_inner[:, :-1]) / 2).sum(axis=1)
    area += (inner[:, 0] - low) * at_inner[:, 0] + (high - inner[:, -1]) * at_inner[:, -1]
    span = high - low
    mean: FloatMatrix = np.divide(area, span, out=np.full(len(span), np.nan), where=span > 0)
    return mean


def _heights(x: FloatMatrix, y: FloatMatrix, *, at: FloatMatrix) -> FloatMatrix:
    """(k, n): each row's piecewise linear function at other places; level beyond its ends."""
    rows = zip(at, x, y, strict=True)
    return np.stack([np.interp(place, cost, quality) for place, cost, quality in rows])

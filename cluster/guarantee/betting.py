"""A lower bound by betting: finite-sample, for any distribution of bounded rewards.

Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2024,
arXiv 2010.09686). Who thinks that the mean of a margin is at most 0 must take bets on it: a stake
s_t that is fixed before row t is seen turns the capital K into K · (1 + s_t · margin_t). If they
are right no stakes make it grow in expectation, and the chance that it ever exceeds 1 / delta is at
most delta (Ville's inequality). Where it once does, the mean is above 0 with confidence 1 − delta.

Stakes are the paper's predictable plug-in for a known number of rows n, with z the margin mapped to
[0, 1] and m what 0 is mapped to, one-sided:

    lambda_t = min(sqrt(2 · log(1 / delta) / (n · variance_{t−1})), 1 / (2 · m))

The paper's 1/2 and 1/4 stand for the first row in mean and variance.
"""

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

# Of what would lose everything at the worst row: the paper's choice.
MOST_OF_CAPITAL = 0.5
# Halvings when a bound is looked for: to a millionth of the reference's reward.
HALVINGS = 20


def holds(margin: FloatMatrix, *, floor: float, delta: float) -> npt.NDArray[np.bool_]:
    """(...,): whether the mean of a margin is above 0 with confidence 1 − delta.

    The capital may have been enough for a while only; where the mean of all rows says otherwise
    in the end, nobody would believe it, and giving up a yes keeps the promise.

    Args:
        margin: (..., n), reward − floor · reference's reward of rows drawn independently, in an
            order that does not depend on rewards; between −floor and 1.
        floor: share of the reference's reward.
        delta: chance of a wrong yes.
    """
    bets = stakes(margin, floor=floor, delta=delta)
    return _wins(margin, bets=bets, delta=delta)


def lower(
    route: FloatMatrix,
    *,
    reference: FloatMatrix,
    weight: FloatMatrix,
    floor: float,
    delta: float,
) -> float:
    """The greatest share of the reference's mean reward that the route's is above, with confidence.

    The stakes are those of `floor`, whatever share is asked about: then the capital falls as the
    share rises, so one cut divides the shares, and `floor` is below it exactly where it holds.
    Stakes leave it open up to twice the floor.

    Args:
        route, reference: (n,), rewards between 0 and 1.
        weight: (n,), between 0 and 1.
        floor, delta: as in `holds`.
    """
    bets = stakes(weight * (route - floor * reference), floor=floor, delta=delta)

    def is_above(share: float) -> bool:
        return bool(_wins(weight * (route - share * reference), bets=bets, delta=delta))

    low, high = (floor, floor / MOST_OF_CAPITAL) if is_above(floor) else (0.0, floor)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_above(middle) else (low, middle)
    return low


def _wins(margin: FloatMatrix, *, bets: FloatMatrix, delta: float) -> npt.NDArray[np.bool_]:
    enough = log_capital(margin, bets=bets) >= np.log(1 / delta)
    return np.asarray(enough & (margin.mean(axis=-1) > 0))


def log_capital(margin: FloatMatrix, *, bets: FloatMatrix) -> FloatMatrix:
    """(...,): the logarithm of the most capital there ever was, at least 0, that of the first."""
    grown = np.cumsum(np.log1p(bets * margin), axis=-1)
    most: FloatMatrix = grown.max(axis=-1, initial=0.0)
    return most


def stakes(margin: FloatMatrix, *, floor: float, delta: float) -> FloatMatrix:
    """(..., n): what is set on each row of (..., n), from the rows before it alone."""
    n = margin.shape[-1]
    width = 1 + floor
    unit = (margin + floor) / width
    count = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(unit, axis=-1)) / (count + 1)
    variance = (0.25 + np.cumsum((unit - mean) ** 2, axis=-1)) / (count + 1)
    before = np.concatenate([np.full_like(variance[..., :1], 0.25), variance[..., :-1]], axis=-1)
    plug_in = np.sqrt(2 * np.log(1 / delta) / (n * before)) / width
    most: FloatMatrix = np.minimum(plug_in, MOST_OF_CAPITAL / floor)
    return most

"""A lower bound by the normal approximation: tighter than betting, and true for large samples only.

Mean of the margin − z · standard error, z the (1 − delta) quantile of the normal distribution. It
is wrong where hardly any row differs from the reference, so it decides nothing there (`LEAST`).
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from cluster.outcome import FloatMatrix

# Rows that must differ from the reference.
LEAST = 30
HALVINGS = 20
# A share of the reference's reward that no bound is looked for above.
MOST = 2.0


def holds(margin: FloatMatrix, *, floor: float, delta: float) -> npt.NDArray[np.bool_]:  # noqa: ARG001
    """(...,): whether the mean of a margin, (..., n), is above 0, as `betting.holds`; about."""
    n = margin.shape[-1]
    error = margin.std(axis=-1, ddof=1) / np.sqrt(n)
    return np.asarray(margin.mean(axis=-1) > norm.ppf(1 - delta) * error)


def lower(
    route: FloatMatrix,
    *,
    reference: FloatMatrix,
    weight: FloatMatrix,
    floor: float,
    delta: float,
) -> float:
    """As `betting.lower`; about."""

    def is_above(share: float) -> bool:
        return bool(holds(weight * (route - share * reference), floor=share, delta=delta))

    low, high = (floor, MOST) if is_above(floor) else (0.0, floor)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_above(middle) else (low, middle)
    return low

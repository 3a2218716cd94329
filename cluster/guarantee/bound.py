"""The bounds a promise can rest on, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cluster.guarantee import betting, normal
from cluster.outcome import FloatMatrix

BoundName = Literal["betting", "clt"]


class Test(Protocol):
    """Whether a mean margin is above 0; see `cluster.guarantee.betting.holds`."""

    def __call__(
        self, margin: FloatMatrix, *, floor: float, delta: float
    ) -> npt.NDArray[np.bool_]: ...


class Lower(Protocol):
    """The share of the reference's reward that is kept; see `cluster.guarantee.betting.lower`."""

    def __call__(
        self,
        route: FloatMatrix,
        *,
        reference: FloatMatrix,
        weight: FloatMatrix,
        floor: float,
        delta: float,
    ) -> float: ...


@dataclass(frozen=True)
class Bound:
    """A way to be sure of a mean.

    Attributes:
        name: what it is asked for by.
        holds: the test at one floor.
        lower: the greatest floor that would hold.
        least_differing: rows that must differ from the reference for it to decide anything.
        is_asymptotic: whether it is true for large samples alone.
    """

    name: BoundName
    holds: Test
    lower: Lower
    least_differing: int = 0
    is_asymptotic: bool = False


BOUNDS: Mapping[BoundName, Bound] = {
    "betting": Bound("betting", betting.holds, betting.lower),
    "clt": Bound(
        "clt", normal.holds, normal.lower, least_differing=normal.LEAST, is_asymptotic=True
    ),
}

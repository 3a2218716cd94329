"""Whether rewards are of a known range, without which no bound on a mean holds.

The bounds must allow for the worst a row could have been, not for the worst that was seen: of
differences of .1, but one in 200 of −20 and a mean of −.0005, half of the samples of 150 hold none
of those, and a reach taken from the sample called 46 of 100 a gain at a level of .005.
"""

import numpy as np

from cluster.errors import NotComparableError
from cluster.gate.snapshot import Measure
from cluster.guarantee.known import has_no_bounds
from cluster.lake.lake import Lake
from cluster.normalisation import TO_UNIT
from cluster.outcome import FloatMatrix

INSTEAD = f"train with {TO_UNIT}, which has a snapshot of its own"


def check_unit(reward: FloatMatrix, *, measure: Measure, lake: Lake) -> None:
    """Make sure that rewards, NaN where there is none, lie between 0 and 1 by what made them.

    Raises:
        NotComparableError: they do not, or only happen to.
    """
    if measure.normalisation == "z_score":
        raise NotComparableError(f"z-scores have no bounds, and the gate needs some; {INSTEAD}")
    if measure.normalisation == "none" and has_no_bounds(measure.scorer, lake=lake):
        raise NotComparableError(
            f"rewards of scorer '{measure.scorer}' come from a reward model and have no bounds, "
            f"and the gate needs some; {INSTEAD}"
        )
    known = reward[~np.isnan(reward)]
    if len(known) and (known.min() < 0 or known.max() > 1):
        raise NotComparableError(
            f"rewards of scorer '{measure.scorer}' on dataset '{measure.dataset}' go from "
            f"{known.min():g} to {known.max():g}, and the gate needs some between 0 and 1; "
            f"{INSTEAD}"
        )

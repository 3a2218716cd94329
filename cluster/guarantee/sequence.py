"""Fixed-sequence testing: settings one after another, stopped at the first that fails.

The order is fixed before any reward of the sample is seen, so no price is paid for their number:
a wrong yes needs the first false setting to pass, which has a chance of at most delta.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int64]
# What stands for the reference alone, before the first setting.
NONE = -1


@dataclass(frozen=True)
class Verdict:
    """Of one setting on some samples, each (n_samples,).

    Attributes:
        passes: whether it holds.
        decided: whether the bound can tell; where it cannot the setting is passed over.
    """

    passes: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]


def fixed_sequence(
    test: Callable[[int, Samples], Verdict], *, n_settings: int, n_samples: int = 1
) -> Samples:
    """(n_samples,): the last setting that passed before the first that failed, or `NONE`.

    Args:
        test: of a setting, on the samples that have failed nowhere yet.
        n_settings: how many there are, in their order.
        n_samples: calibration samples, each for itself.
    """
    last = np.full(n_samples, NONE, dtype=np.int64)
    alive = np.arange(n_samples)
    for setting in range(n_settings):
        if not len(alive):
            break
        verdict = test(setting, alive)
        last[alive[verdict.passes & verdict.decided]] = setting
        alive = alive[verdict.passes | ~verdict.decided]
    return last

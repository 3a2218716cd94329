"""Tasks with too few rows to be measured on: in a macro mean they weigh more than they can bear.

A row of a task with n_task of n rows, of k tasks, weighs n / (k · n_task), and the bounds must
allow for the worst at the heaviest row. Two rows of a sixth task beside 5 · 200 (weight 83) turned
a lower bound of .13 for a gain of .2 into −.8, ten (weight 17) into −.02, twenty (weight 8) into
.07: one rare task shut the gate to everything. Where all tasks are small none is heavy (57 of 10
rows each have .11), and all are kept.

Such tasks are left out, and not pooled: what is left is a mean of tasks as it is everywhere else.
Which they are depends on the rows alone, so no reward decides what is measured.
"""

import numpy as np
import numpy.typing as npt

from cluster.gate.interval import macro_weights

# A task with this many rows is kept, whatever it weighs.
FEWEST_OF_TASK = 20
# A task with fewer is kept where a row of it weighs no more than this.
MOST_WEIGHT = 4.0
REASON = f"are of tasks with fewer than {FEWEST_OF_TASK} rows beside far longer ones"


def is_bearable(tasks: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """(n_queries,): whether a row's task has rows enough for what it weighs."""
    if not len(tasks):
        return np.zeros(0, dtype=np.bool_)
    _, place, counts = np.unique(tasks, return_inverse=True, return_counts=True)
    found: npt.NDArray[np.bool_] = (counts[place] >= FEWEST_OF_TASK) | (
        macro_weights(tasks) <= MOST_WEIGHT
    )
    return found

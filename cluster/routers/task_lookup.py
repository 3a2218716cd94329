"""A baseline that reads the task's label: each task's best candidate on train.

Not a router: a query to be routed has no label. It is reported and never gated on.
"""

import numpy as np
import numpy.typing as npt

from cluster.outcome import OutcomeMatrix
from cluster.routers.means import macro_means, require_rewards, task_means


def choose(train: OutcomeMatrix, test: OutcomeMatrix) -> npt.NDArray[np.int64]:
    """(n_test,) the column of the candidate with the highest mean on the query's task.

    Of equals the first; best single for a task that train does not have.

    Raises:
        InputError: no rows, or a candidate without a reward.
    """
    require_rewards(train)
    names, means = task_means(train.reward, train.tasks)
    fallback = int(np.argmax(macro_means(train.reward, train.tasks)))
    best = np.argmax(np.where(np.isnan(means), -np.inf, means), axis=1)
    best = np.where(np.isnan(means).all(axis=1), fallback, best)
    known = dict(zip(names.tolist(), best.tolist(), strict=True))
    return np.array([known.get(task, fallback) for task in test.tasks.tolist()], dtype=np.int64)

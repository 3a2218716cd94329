"""What shows that an evaluation is honest: a control without signal."""

from dataclasses import replace

import numpy as np

from cluster.outcome import OutcomeMatrix

# What the name of a method fitted on shuffled labels begins with.
CONTROL = "control:"


def shuffled(outcomes: OutcomeMatrix, *, seed: int) -> OutcomeMatrix:
    """The same queries with the rewards of others: whole rows, permuted over all tasks.

    The candidates' means over all queries, their correlations and the missing cells stay; what a
    query has to do with them is gone. A method fitted on it knows no more than which candidate is
    best on average, so on test it may not beat best single: if it does, the harness leaks.
    Tokens, answers and everything else stay with their queries.
    """
    rows = np.random.default_rng(seed).permutation(len(outcomes))
    return replace(
        outcomes,
        reward=outcomes.reward[rows],
        n_samples=outcomes.n_samples[rows],
        truncated=outcomes.truncated[rows],
    )

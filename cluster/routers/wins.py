"""What the classifiers of a strong/weak pair share: they say how likely the strong one wins.

Their scores are P(strong wins) and 1 − P, ties as half wins. So expected rewards differ by
2 P − 1, times a slope that is fitted on the training rows and near 1.
"""

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.routers.means import require_rewards
from cluster.routers.strong_weak import on_candidates, pair_columns


def pair_rows(
    train: OutcomeMatrix, validation: OutcomeMatrix, *, strong: str, weak: str
) -> tuple[OutcomeMatrix, OutcomeMatrix]:
    """The rows of both on which both rewards are known; the strong candidate is the first column.

    Raises:
        InputError: no such pair, or no row with both rewards on one of the two sides.
    """
    columns = pair_columns(train, strong=strong, weak=weak)
    pairs = [on_candidates(rows, columns) for rows in (train, validation)]
    require_rewards(pairs[0])
    complete = [pair.complete() for pair in pairs]
    for side, rows in zip(("training", "validation"), complete, strict=True):
        if not len(rows):
            names = " and ".join(f"'{name}'" for name in rows.candidates)
            raise InputError(
                f"no {side} query has a reward of both {names}: collect both on the same queries"
            )
    return complete[0], complete[1]


def checked_pair_rows(
    train: OutcomeMatrix, validation: OutcomeMatrix, *, strong: str, weak: str
) -> tuple[OutcomeMatrix, OutcomeMatrix]:
    """As `pair_rows`, before the fit: without validation rows a part of train takes their place."""
    judges = validation if len(validation) else train
    return pair_rows(train, judges, strong=strong, weak=weak)

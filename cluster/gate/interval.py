"""Bounds of a macro mean difference that hold at a small error rate, for rewards of a known range.

The looks of many nights share one error rate, so each has little: .0002 to .01. Percentiles of a
bootstrap and Student's t are wrong there. Two routers that differ on 5 queries of 500, all losses,
show none of them in one sample of 150, and then nothing varies: at a level of .0008, t called 4 of
100 such samples "not worse by .01". So the bounds are those of betting
(`cluster.guarantee.betting`), which need no approximation: with x a row's difference, weighted so
that the mean over rows is the mean over tasks of the tasks' means, and m a mean that is doubted,

    K(m) = max over t of prod_{i <= t} (1 + stake_i · (x_i − m))

exceeds 1 / level with a chance of at most `level` if the mean is m or less (Ville's inequality).
The stakes are Waudby-Smith and Ramdas' predictable plug-in for a known number of rows (arXiv
2010.09686, one-sided); they are fixed before m, so K falls as m rises, and one cut divides the
means that are refuted from those that are not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

# Of what would lose everything at the worst row: the paper's choice.
MOST_OF_CAPITAL = 0.5
# Rows that the first guess of the variance counts for.
GUESS_ROWS = 10
# Of the squared range: the variance of a difference of two rewards where the routes differ.
GUESS_SHARE = 0.3
# To a ten-millionth of the range.
HALVINGS = 24


@dataclass(frozen=True)
class Difference:
    """Rows of a difference.

    Attributes:
        values: (n_queries,), in an order that does not depend on rewards.
        reach: the greatest a difference can be, either way. It must be known before the values: the
            greatest that was seen makes bounds that hold only if nothing greater could have been.
        differs: (n_queries,), between 0 and 1: how far the routes differ, which is known before
            any reward.
    """

    values: FloatMatrix
    reach: float
    differs: FloatMatrix


def macro_weights(tasks: npt.NDArray[np.str_]) -> FloatMatrix:
    """(n_queries,): mean 1; the mean over rows of weighted values is their macro mean."""
    names, place, counts = np.unique(tasks, return_inverse=True, return_counts=True)
    weights: FloatMatrix = len(tasks) / (len(names) * counts[place])
    return weights


def bounds(
    difference: Difference, *, weights: FloatMatrix, level: float
) -> tuple[float, float, float]:
    """The weighted mean, and its lower and upper bound, each wrong with a chance of `level`."""
    x = difference.values * weights
    if not difference.reach:
        return 0.0, 0.0, 0.0
    reach = difference.reach * float(weights.max())
    guess = GUESS_SHARE * difference.reach**2 * float((weights**2 * difference.differs).mean())
    low = _lower(x, reach=reach, guess=guess, level=level)
    high = -_lower(-x, reach=reach, guess=guess, level=level)
    return float(x.mean()), low, high


def _lower(x: FloatMatrix, *, reach: float, guess: float, level: float) -> float:
    """The greatest mean that is refuted, for rows (n,) between −reach and reach."""
    stakes = _stakes(x, reach=reach, guess=guess, level=level)
    enough = np.log(1 / level)

    def is_refuted(mean: float) -> bool:
        capital = np.cumsum(np.log1p(stakes * (x - mean)))
        return bool(capital.max() >= enough and x.mean() > mean)

    low, high = -reach, reach
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def _stakes(x: FloatMatrix, *, reach: float, guess: float, level: float) -> FloatMatrix:
    """(n,): what is set on each row, from the rows before it alone."""
    n = len(x)
    count = np.arange(1, n + 1) + GUESS_ROWS
    mean = np.cumsum(x) / count
    variance = (GUESS_ROWS * guess + np.cumsum((x - mean) ** 2)) / count
    before = np.concatenate([[guess], variance[:-1]])
    most = MOST_OF_CAPITAL / reach
    with np.errstate(divide="ignore"):
        plug_in = np.sqrt(2 * np.log(1 / level) / (n * before))
    stakes: FloatMatrix = np.minimum(plug_in, most)
    return stakes

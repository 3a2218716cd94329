"""Rewards of one scorer on a scale of their own or of all: a setting of a view, never stored.

Reward models differ in offset and spread, and a setting that is right for one (a temperature of a
softmax, a threshold) is not right for another. With r a reward, and m, s, low and high the mean,
standard deviation, least and greatest of the scorer's rewards on the rows that are learned from:

- `none`: r
- `min_max`: (r − low) / (high − low), at most 1 and at least 0
- `z_score`: (r − m) / s
- `sigmoid`: 1 / (1 + exp(−(r − m) / (s · temperature)))
- `rank`: within the query, the share of the other answers that it beats, a tie counting as half

A reward model is trained on pairs of answers to one query (Bradley-Terry), and RewardBench (arXiv
2403.13787) measures it by such pairs: only the order within a query is what it was made to tell.
That is what `rank` keeps, and all it keeps. It depends on who else has answered. The others keep
how far apart answers are, which the softmax of ZOOTER's labels needs.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from scipy.special import expit

from cluster.outcome import FloatMatrix

Scaling = Literal["none", "min_max", "z_score", "sigmoid"]
Normalisation = Literal["none", "min_max", "z_score", "rank", "sigmoid"]
NORMALISATIONS: tuple[str, ...] = get_args(Normalisation)
# Those after which every reward is between 0 and 1.
TO_UNIT = "--normalisation min_max, rank or sigmoid"
# What is divided by; less is no spread of a scorer, and a quotient could leave the numbers.
LEAST_SPREAD = 1e-300
LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Yardstick:
    """What a scorer's rewards are measured by.

    Attributes:
        scaling: how.
        offset: the reward that becomes 0 (of `sigmoid`: one half).
        spread: the difference that becomes 1; 0 where all rewards were equal.
        temperature: of `sigmoid`; the smaller, the closer to 0 or 1.
    """

    scaling: Scaling
    offset: float
    spread: float
    temperature: float = 1.0

    def measured(self, values: FloatMatrix) -> FloatMatrix:
        """The values, of any shape, on this scale.

        Where all rewards were equal, such a reward is 0 as a `z_score` and one half otherwise;
        others are 0 or 1 by `min_max`, and have a spread of 1 else.
        """
        if self.scaling == "none":
            return values
        if self.scaling == "min_max" and not self.spread:
            return np.asarray(0.5 + 0.5 * np.sign(values - self.offset))
        spread = self.spread or 1.0
        # By halves, as the difference of two rewards may be more than the largest number.
        with np.errstate(over="ignore"):
            scaled = (values / 2 - self.offset / 2) / (spread / 2)
        if self.scaling == "z_score":
            return np.clip(scaled, -LARGEST, LARGEST)
        if self.scaling == "min_max":
            return np.clip(scaled, 0.0, 1.0)
        with np.errstate(over="ignore"):
            return np.asarray(expit(scaled / self.temperature))


def yardstick(values: FloatMatrix, *, scaling: Scaling, temperature: float = 1.0) -> Yardstick:
    """Made by these rewards, (n,), finite; of none of them, 0 and without a spread."""
    if scaling == "none" or not len(values):
        return Yardstick(scaling, offset=0.0, spread=0.0, temperature=temperature)
    low, high = float(values.min()), float(values.max())
    if low == high:
        return Yardstick(scaling, offset=low, spread=0.0, temperature=temperature)
    if scaling == "min_max":
        offset, spread = low, 2 * min(high / 2 - low / 2, LARGEST / 2)
    else:
        # As shares of the greatest, whose square is a number.
        unit = max(abs(low), abs(high))
        offset, spread = unit * float((values / unit).mean()), unit * float((values / unit).std())
    return Yardstick(scaling, offset, max(spread, LEAST_SPREAD), temperature=temperature)


def normalised(
    rewards: pl.DataFrame, *, normalisation: Normalisation, temperature: float = 1.0
) -> pl.Series:
    """(n,): `value` of every row on the scale asked for.

    The scale is that of the rows `learned` from, so that no test row moves what a method is taught;
    where there is no such row it is that of all.

    Args:
        rewards: `query_id`, `value` (finite) and `learned` (bool), one row an answer.
        normalisation: how.
        temperature: of `sigmoid`.
    """
    if normalisation == "rank":
        return rewards.select(_rank("value").over("query_id"))["value"]
    values = rewards["value"].to_numpy()
    learned = rewards["learned"].to_numpy()
    seen = values[learned] if learned.any() else values
    made = yardstick(seen, scaling=normalisation, temperature=temperature)
    return pl.Series("value", made.measured(values))


def _rank(column: str) -> pl.Expr:
    """Share of the other values that a value is above, ties half; one half for a value alone."""
    others = pl.len() - 1
    below = pl.col(column).rank("average") - 1
    return pl.when(others > 0).then(below / others).otherwise(0.5).alias(column)

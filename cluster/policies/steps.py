"""What each query could gain for more money: the steps from its cheapest candidate to its best.

Of candidates that cost more and promise less none is worth its price at any lambda; the rest form
the upper hull of a query's (cost, reward). Going up along it, every step brings less reward per USD
than the one before. The sum of a file's rewards under a limit on its costs is highest, up to one
step, when steps are taken in the order of what they bring per USD (Dantzig 1957 for the knapsack;
Sinha and Zoltners 1979, Operations Research 27(3), for choices of one of several).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices, Numbers, one_of, require_a_choice

_MOST = np.finfo(np.float64).max
# Reward; sums in another order differ by some 1e-16, and no money is to be spent for that.
LEAST_GAIN = 1e-12


@dataclass(frozen=True)
class Step:
    """The next step of the rows that have one.

    Attributes:
        rows: (k,) which they are.
        columns: (k,) the candidate that each step goes to.
        reward_per_usd: (k,) above 0; never more than that of the row's step before.
        usd: (k,) what the step costs, above 0.
    """

    rows: npt.NDArray[np.int64]
    columns: Choices
    reward_per_usd: FloatMatrix
    usd: FloatMatrix


@dataclass(frozen=True)
class Offers:
    """Rewards and costs to choose among.

    Attributes:
        reward, cost: (n_queries, n_candidates); NaN where unknown.
        usable: (n_queries, n_candidates), whom one may choose; their values are known.
        numbers: (n_queries,) decide between candidates that are equal in both.
    """

    reward: FloatMatrix
    cost: FloatMatrix
    usable: BoolMatrix
    numbers: Numbers

    def cheapest(self) -> Choices:
        """(n,) where every row starts; of those that cost the same the best.

        Raises:
            InputError: a row without anyone.
        """
        require_a_choice(self.usable)
        least = np.where(self.usable, self.cost, np.inf).min(axis=1, initial=np.inf)
        cheap = self.usable & (self.cost == least[:, None])
        best = np.where(cheap, self.reward, -np.inf).max(axis=1, initial=-np.inf)
        return one_of(cheap & (self.reward == best[:, None]), numbers=self.numbers)

    def steps(self, start: Choices) -> Iterator[Step]:
        """The first step of every row from `start`, then the second, until no row has another."""
        rows, at = np.arange(len(start)), start
        before: FloatMatrix = np.full(len(start), _MOST)
        while len(rows):
            step = self._step(rows, at=at)
            goes_on = step.reward_per_usd > 0
            rows, at, usd = step.rows[goes_on], step.columns[goes_on], step.usd[goes_on]
            # Rounding must not let a later step look better than the one it follows.
            before = np.minimum(step.reward_per_usd[goes_on], before[goes_on])
            if len(rows):
                yield Step(rows, at, before, usd)

    def _step(self, rows: npt.NDArray[np.int64], *, at: Choices) -> Step:
        """The steepest step from (k,) `at`, the longest of equal ones; 0 where none goes up."""
        reward, cost = self.reward[rows], self.cost[rows]
        here = np.arange(len(rows))
        gain = reward - reward[here, at][:, None]
        usd = cost - cost[here, at][:, None]
        goes_up = self.usable[rows] & (gain > LEAST_GAIN) & (usd > 0)
        with np.errstate(over="ignore"):
            slope = np.minimum(np.divide(gain, usd, out=np.zeros_like(gain), where=goes_up), _MOST)
        steepest = slope.max(axis=1, initial=0.0)
        tied = goes_up & (slope == steepest[:, None])
        longest = np.where(tied, usd, 0.0).max(axis=1, initial=0.0)
        last = tied & (usd == longest[:, None])
        last[steepest == 0, 0] = True
        columns = one_of(last, numbers=self.numbers[rows])
        return Step(rows, columns, steepest, usd[here, columns])

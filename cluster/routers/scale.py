"""From a method's own scores to rewards: one rising line for all candidates.

A method that only ranks (cosines, logits, Bradley–Terry strengths) has no unit. Policies weigh
reward against money, so it needs one. The line is shared by all candidates: it gives scores the
rewards' unit and leaves the ranking as the method meant it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cluster.outcome import FloatMatrix
from cluster.state import State

# A slope that is not positive would turn the ranking round; where scores say nothing it is this.
LEAST_SLOPE = 1e-6


@dataclass(frozen=True)
class SharedScale:
    """reward ≈ offset + slope · score, slope > 0."""

    offset: float
    slope: float

    @classmethod
    def identity(cls) -> Self:
        """Scores that are rewards."""
        return cls(0.0, 1.0)

    @classmethod
    def fit(cls, scores: FloatMatrix, reward: FloatMatrix) -> Self:
        """Least squares over all known cells of two (n_queries, n_candidates) matrices."""
        known = ~np.isnan(reward) & np.isfinite(scores)
        x, y = scores[known], reward[known]
        if not len(x):
            return cls.identity()
        centred = x - x.mean()
        spread = float(centred @ centred)
        slope = float(centred @ y) / spread if spread > 0 else LEAST_SLOPE
        slope = max(slope, LEAST_SLOPE)
        return cls(float(y.mean() - slope * x.mean()), slope)

    def reward(self, scores: FloatMatrix) -> FloatMatrix:
        """Expected rewards, of the scores' shape."""
        scaled: FloatMatrix = self.offset + self.slope * scores
        return scaled

    def state(self) -> State:
        """Two numbers."""
        return State({"offset": self.offset, "slope": self.slope})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a number is missing.
        """
        return cls(state.value("offset", float), state.value("slope", float))

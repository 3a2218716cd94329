"""From a method's own scores to rewards: one rising line for all candidates.

A method that only ranks (cosines, logits, Bradley–Terry strengths) has no unit. Policies weigh
reward against money, so it needs one. The line is shared by all candidates: it gives scores the
rewards' unit and leaves the ranking as the method meant it. Only a candidate that was taken up
later may have a line of its own, as the scores of what was trained without it are not made for it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from cluster.errors import InputError
from cluster.outcome import FloatMatrix
from cluster.state import State

# A slope that is not positive would turn the ranking round; where scores say nothing it is this.
LEAST_SLOPE = 1e-6


class Line(NamedTuple):
    """reward ≈ offset + slope · score, slope ≥ 0."""

    offset: float
    slope: float


@dataclass(frozen=True)
class SharedScale:
    """reward ≈ offset + slope · score, slope > 0.

    Attributes:
        offset, slope: of all candidates that were trained together.
        later: lines of the last candidates, those that were taken up later.
    """

    offset: float
    slope: float
    later: tuple[Line, ...] = ()

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
        for place, line in enumerate(reversed(self.later), start=1):
            scaled[..., -place] = line.offset + line.slope * scores[..., -place]
        return scaled

    def with_line(self, line: Line) -> Self:
        """The scale with a line of its own for one more candidate, in the last column."""
        return replace(self, later=(*self.later, line))

    def state(self) -> State:
        """Two numbers, and two a candidate that was taken up later."""
        own = {"offset": self.offset, "slope": self.slope}
        return State({**own, "later": [list(line) for line in self.later]} if self.later else own)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a number is missing.
        """
        later = state.value("later", list) if "later" in state.config else []
        if not all(
            isinstance(line, list) and len(line) == 2 and all(type(x) is float for x in line)
            for line in later
        ):
            raise InputError("damaged checkpoint: 'later' must hold two numbers a candidate")
        offset, slope = (state.value(name, float) for name in ("offset", "slope"))
        return cls(offset, slope, tuple(Line(*line) for line in later))

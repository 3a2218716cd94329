"""Who is right together: the correlation of candidates' rewards over queries."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cluster.outcome import FloatMatrix
from cluster.quality.alarm import Alarm
from cluster.quality.comparable import Comparable

# The two answer alike: of 0/1 rewards, they differ on about one query in forty.
ALIKE = 0.95


@dataclass(frozen=True)
class Correlation:
    """Of the comparable candidates.

    Attributes:
        candidates: names.
        matrix: (n_candidates, n_candidates), Pearson; NaN where a candidate's rewards are all the
            same.
    """

    candidates: tuple[str, ...]
    matrix: FloatMatrix

    def pairs(self) -> list[tuple[str, str, float]]:
        """Every pair with its correlation, the closest first; unknown ones are left out."""
        rows, columns = np.triu_indices(len(self.candidates), k=1)
        values = self.matrix[rows, columns]
        order = np.argsort(-values, kind="stable")
        return [
            (self.candidates[rows[place]], self.candidates[columns[place]], float(values[place]))
            for place in order
            if not np.isnan(values[place])
        ]


def correlation(data: Comparable) -> Correlation:
    """Pearson's correlation of every two columns."""
    centred = data.reward - data.reward.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    # Of equal rewards the mean may be off by a rounding: that is no spread.
    spread[np.ptp(data.reward, axis=0) == 0] = np.nan
    scaled = centred / spread
    return Correlation(data.candidates, np.clip(scaled.T @ scaled, -1.0, 1.0))


def alarms(found: Correlation) -> Iterator[Alarm]:
    """Candidates of which one is enough."""
    for first, second, value in found.pairs():
        if value > ALIKE:
            yield Alarm(
                "correlation",
                f"{first} and {second} are right and wrong on the same queries (correlation "
                f"{value:.2f}).",
                "Keep the cheaper one: routing between the two gains nothing.",
            )

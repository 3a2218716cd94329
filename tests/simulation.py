"""A promise checked by simulation: rows whose outcomes are all known stand for the world.

Calibration samples are drawn from such a population with replacement, each chooses a setting, and
whether the promise is kept is then no estimate: the setting's mean over the population is known. A
finite test half would add noise of its own to that.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from cluster.guarantee.bound import BOUNDS, BoundName
from cluster.guarantee.sequence import NONE, Samples, Verdict, fixed_sequence
from cluster.outcome import BoolMatrix, FloatMatrix

# Drawn rows looked at together: 4 MB a matrix stay in the cache.
CELLS_AT_ONCE = 1 << 19
Draws = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """What every setting of a path earns and costs on every row.

    Attributes:
        earned: (n_settings, n_rows), between 0 and 1.
        reference: (n_rows,), the reference's reward.
        differs: (n_settings, n_rows), whether the row goes elsewhere than to the reference.
        cost: (n_settings,), mean cost of each setting, as a share of the reference's.
    """

    earned: FloatMatrix
    reference: FloatMatrix
    differs: BoolMatrix
    cost: FloatMatrix

    def take(self, rows: BoolMatrix) -> "Population":
        """The same settings on some of the rows, (n_rows,); the costs stay those of all."""
        return replace(
            self,
            earned=self.earned[:, rows],
            reference=self.reference[rows],
            differs=self.differs[:, rows],
        )

    def margin(self, floor: float) -> FloatMatrix:
        """(n_settings, n_rows): earned − floor · reference."""
        return self.earned - floor * self.reference

    def holds(self, floor: float) -> BoolMatrix:
        """(n_settings,): whether a setting keeps the promise on the population."""
        return np.asarray(self.margin(floor).mean(axis=1) >= 0)

    def cost_of(self, settings: Samples) -> FloatMatrix:
        """(n_samples,): cost of the settings that were chosen; 1 for the reference alone."""
        return np.where(settings == NONE, 1.0, self.cost[settings])

    def least_cost(self, floor: float) -> float:
        """The cheapest of the settings that truly hold."""
        return float(self.cost[self.holds(floor)].min(initial=1.0))


class Rule(Protocol):
    """Which setting each sample chooses: of a population, rows (n_samples, n), floor and delta."""

    def __call__(
        self, population: Population, *, rows: Draws, floor: float, delta: float
    ) -> Samples: ...


def draw(n_rows: int, *, n: int, samples: int, rng: np.random.Generator) -> Draws:
    """(samples, n): rows drawn evenly, with replacement."""
    return rng.integers(0, n_rows, size=(samples, n))


def broken(chosen: Samples, *, population: Population, floor: float) -> int:
    """How many of the chosen settings do not keep the promise; the reference alone always does."""
    wrong = np.append(~population.holds(floor), False)
    return int(wrong[chosen].sum())


def most_broken(samples: int, *, delta: float) -> int:
    """So many may be broken by chance, two standard deviations above delta."""
    return int(np.ceil(samples * delta + 2 * np.sqrt(samples * delta * (1 - delta))))


def certified(name: BoundName) -> Rule:
    """What `signalbox calibrate` does, with one of its bounds."""
    bound = BOUNDS[name]

    def rule(population: Population, *, rows: Draws, floor: float, delta: float) -> Samples:
        margins = population.margin(floor)

        def test(setting: int, alive: Samples) -> Verdict:
            at_once = max(1, CELLS_AT_ONCE // rows.shape[1])
            parts = [rows[alive[k : k + at_once]] for k in range(0, len(alive), at_once)]
            margin, differs = margins[setting], population.differs[setting]
            passes = [bound.holds(margin[part], floor=floor, delta=delta) for part in parts]
            decided = [differs[part].sum(axis=1) >= bound.least_differing for part in parts]
            return Verdict(np.concatenate(passes), np.concatenate(decided))

        return fixed_sequence(test, n_settings=len(margins), n_samples=len(rows))

    return rule


def fitted(population: Population, *, rows: Draws, floor: float, delta: float) -> Samples:
    """The cheapest setting that does well enough on the sample: a threshold without a bound."""
    means = _means(population, rows=rows, floor=floor)
    price = np.where(means >= 0, population.cost, np.inf)
    return np.where(np.isfinite(price).any(axis=1), price.argmin(axis=1), NONE)


def hoeffding_bentkus(
    population: Population, *, rows: Draws, floor: float, delta: float
) -> Samples:
    """Fixed-sequence testing by the p-value of Bates et al. (arXiv 2101.02703, theorem 2).

    It knows the mean of a loss and not its variance, which is small where most rows agree.
    """
    n = rows.shape[1]
    most = 1 / (1 + floor)
    risk = (1 - _means(population, rows=rows, floor=floor)) / (1 + floor)
    low = np.clip(np.minimum(risk, most), 1e-12, 1 - 1e-12)
    entropy = low * np.log(low / most) + (1 - low) * np.log((1 - low) / (1 - most))
    bentkus = np.e * binom.cdf(np.ceil(n * risk), n, most)
    passes = np.minimum(np.exp(-n * entropy), bentkus) <= delta

    def test(setting: int, alive: Samples) -> Verdict:
        return Verdict(passes[alive, setting], np.ones(len(alive), dtype=np.bool_))

    return fixed_sequence(test, n_settings=passes.shape[1], n_samples=len(rows))


def _means(population: Population, *, rows: Draws, floor: float) -> FloatMatrix:
    """(n_samples, n_settings): mean margin of every setting on every sample."""
    margins = population.margin(floor)
    n_rows = margins.shape[1]
    means = np.empty((len(rows), len(margins)))
    at_once = max(1, CELLS_AT_ONCE // n_rows)
    for first in range(0, len(rows), at_once):
        part = rows[first : first + at_once]
        place = part + n_rows * np.arange(len(part))[:, None]
        counts = np.bincount(place.ravel(), minlength=len(part) * n_rows)
        means[first : first + at_once] = counts.reshape(len(part), n_rows) @ margins.T
    mean: FloatMatrix = means / rows.shape[1]
    return mean

"""Tiers: candidates of about the same strength, taken together.

Preferences over many candidates are sparse: most pairs never met. RouteLLM (ICLR 2025, arXiv
2406.18665, section 3.1) cuts the candidates' scores into tiers and compares tiers, so that every
comparison of a strong candidate with a weak one teaches the same pair.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix
from cluster.preference import Comparisons
from cluster.routers.bradley_terry import strengths


@dataclass(frozen=True)
class Tiers:
    """Which tier each candidate is in.

    Attributes:
        tier_of: (n_candidates,), 0 for the best; no tier is empty.
        scores: (n_candidates,), what was cut.
    """

    tier_of: npt.NDArray[np.int64]
    scores: FloatMatrix

    @property
    def n_tiers(self) -> int:
        """How many there are."""
        return int(self.tier_of.max(initial=-1)) + 1

    @property
    def offsets(self) -> FloatMatrix:
        """(n_candidates,): each score less the mean of its tier."""
        sums = np.bincount(self.tier_of, weights=self.scores, minlength=self.n_tiers)
        means = sums / np.bincount(self.tier_of, minlength=self.n_tiers)
        offsets: FloatMatrix = self.scores - means[self.tier_of]
        return offsets

    def between(self, comparisons: Comparisons) -> Comparisons:
        """The comparisons with tiers as players; those within a tier say nothing of tiers."""
        return comparisons.between(self.tier_of, n_groups=self.n_tiers)


def strength_tiers(comparisons: Comparisons, *, n_tiers: int, ties: float) -> Tiers:
    """Tiers of the Bradley–Terry strengths over all queries; an Elo rating is 174 times these.

    `n_tiers`, `ties`: as in `cut_into_tiers` and `strengths`.
    """
    found = strengths(comparisons.wins()[None], ties=ties)[0]
    return cut_into_tiers(found, n_tiers=n_tiers)


def cut_into_tiers(scores: FloatMatrix, *, n_tiers: int) -> Tiers:
    """The cut with the least sum over tiers of squared distances to the tier's mean.

    Exact, by dynamic programming over the distinct scores, O(n² · n_tiers): with D[t, j] the least
    sum for the j highest in t tiers, D[t, j] = min over i < j of D[t − 1, i] + cost(i, j). Equal
    scores are in one tier; of fewer distinct scores than tiers each is one.

    Args:
        scores: (n_candidates,), finite: strengths or mean rewards, the higher the better.
        n_tiers: at least 1.
    """
    assert n_tiers >= 1, f"{n_tiers} tiers"
    assert np.isfinite(scores).all(), "scores must be known"
    levels, level_of, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    cost = spreads(levels, counts=counts)
    least = np.where(np.arange(len(levels) + 1) == 0, 0.0, np.inf)
    cuts = []
    for _ in range(min(n_tiers, len(levels))):
        sums = least[:, None] + cost
        cuts.append(sums.argmin(axis=0))
        least = sums.min(axis=0)
    tier_of_level = np.zeros(len(levels), dtype=np.int64)
    end = len(levels)
    for tier in reversed(range(len(cuts))):
        begin = cuts[tier][end]
        tier_of_level[begin:end] = tier
        end = begin
    return Tiers(tier_of_level[level_of], np.asarray(scores, dtype=np.float64))


def spreads(levels: FloatMatrix, *, counts: npt.NDArray[np.int64]) -> FloatMatrix:
    """(n + 1, n + 1): [i, j] is the squared distance to their mean of levels i to j − 1.

    Infinite where that is nothing, i ≥ j. `counts`: (n,), how often each level occurs.
    """
    n = len(levels)
    centred = levels - np.average(levels, weights=counts) if n else levels
    weight, total, squared = (
        np.concatenate([[0.0], np.cumsum(counts * centred**power)]) for power in (0, 1, 2)
    )
    w, t, s = (each[None, :] - each[:, None] for each in (weight, total, squared))
    inside = np.tri(n + 1, k=-1, dtype=np.bool_).T
    cost = np.full((n + 1, n + 1), np.inf)
    cost[inside] = np.maximum(s[inside] - t[inside] ** 2 / w[inside], 0.0)
    return cost

"""The judgement on a file: another mix of queries, or queries unlike all training ones?

An alarm needs both: more than chance gives in one file of a thousand, and enough to matter. In a
small file chance is wide, and only a great change can be told; in a large one every difference is
more than chance, and most are of no account. What matters is the customary reading of PSI, chance
taken off: below 0.1 nothing has changed, above 0.25 much has; and one query of twenty far away.
"""

from dataclasses import dataclass

import numpy as np

from cluster.drift.counts import DriftCounts
from cluster.drift.far import expected_share, limit_share
from cluster.drift.profile import Profile
from cluster.drift.stability import expected_by_chance, limit_by_chance, stability_parts

LEVEL = 0.001
CHANGED, MUCH = 0.1, 0.25
FAR_MATTERS = 0.05
UNKNOWN = (
    "drift is not known: the router's checkpoint has no profile of its training queries (it is "
    "older than profiles, or learned from fewer than 100 queries); train the router again to have "
    "one"
)


@dataclass(frozen=True)
class Drift:
    """How far a file's queries are from a router's training queries.

    Attributes:
        rows, sampled: rows of the file, and those looked at.
        psi: population stability index over the clusters.
        psi_by_chance: its mean where nothing has changed.
        psi_limit: what it exceeds in one file of a thousand where nothing has changed.
        far: share of the queries far away from all training queries.
        far_expected, far_limit: the same of these two.
        shares, trained: (n_clusters,) shares of the file's and of the training queries.
        parts: (n_clusters,) what each adds to the index.
        names: (n_clusters,) of the clusters.
    """

    rows: int
    sampled: int
    psi: float
    psi_by_chance: float
    psi_limit: float
    far: float
    far_expected: float
    far_limit: float
    shares: tuple[float, ...]
    trained: tuple[float, ...]
    parts: tuple[float, ...]
    names: tuple[str, ...]

    @property
    def excess(self) -> float:
        """PSI without what chance gives."""
        return max(0.0, self.psi - self.psi_by_chance)

    @property
    def is_other_mix(self) -> bool:
        """Whether the clusters' shares have changed, by more than chance and enough to matter."""
        return self.psi > self.psi_limit and self.excess >= CHANGED

    @property
    def is_far(self) -> bool:
        """Whether there are queries unlike all training ones, by the same two measures."""
        return self.far > self.far_limit and self.far >= FAR_MATTERS

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, in words; empty where nothing is."""
        found = []
        if self.is_other_mix:
            much = "a quite different" if self.excess >= MUCH else "another"
            found.append(
                f"{much} mix of queries than the router was trained on: population stability index "
                f"{self.psi:.2f} over {len(self.shares)} clusters, where chance alone stays below "
                f"{self.psi_limit:.2f}"
            )
        if self.is_far:
            found.append(
                f"{_percent(self.far)} of the queries are unlike all training queries, where "
                f"{_percent(self.far_expected)} are expected and chance alone stays below "
                f"{_percent(self.far_limit)}"
            )
        return tuple(found)


def drift(counts: DriftCounts, *, profile: Profile) -> Drift | None:
    """The judgement; None where no row was looked at."""
    if not counts.sampled:
        return None
    shares = np.array(counts.clusters) / counts.rows
    sizes = {"n_first": counts.n, "n_second": profile.n}
    n_clusters = len(profile.shares)
    parts = stability_parts(shares, profile.shares, **sizes)
    return Drift(
        rows=counts.rows,
        sampled=counts.sampled,
        psi=float(parts.sum()),
        psi_by_chance=expected_by_chance(n_clusters, **sizes),
        psi_limit=limit_by_chance(n_clusters, level=LEVEL, **sizes),
        far=counts.far / counts.rows,
        far_expected=expected_share(profile.far_rank, n_train=profile.n),
        far_limit=limit_share(profile.far_rank, n_train=profile.n, n=counts.n, level=LEVEL),
        shares=tuple(shares.tolist()),
        trained=tuple(profile.shares.tolist()),
        parts=tuple(parts.tolist()),
        names=profile.names,
    )


def refusal(counts: DriftCounts | None, profile: Profile | None) -> str | None:
    """Why a promise about new queries does not hold for this file; None where nothing says so.

    Where nothing is known (`UNKNOWN`) nothing is refused: who promises says so beside it.
    """
    if counts is None or profile is None:
        return None
    found = drift(counts, profile=profile)
    return "; ".join(found.alarms) if found and found.alarms else None


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

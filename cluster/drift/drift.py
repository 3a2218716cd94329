"""The judgement on a file: another mix of queries, or queries unlike all training ones?

An alarm needs both: more than chance gives in one file of a thousand, and enough to matter. In a
small file chance is wide, and only a great change can be told; in a large one every difference is
more than chance, and most are of no account. What matters is the customary reading of PSI, chance
taken off: below 0.1 nothing has changed, above 0.25 much has; and one query of twenty far away,
where one of a hundred is expected.

A file is judged against the queries a router was trained on, or, where something is promised for
queries like those of a calibration, against these.
"""

from dataclasses import dataclass
from typing import Self

from cluster.drift.counts import DriftCounts
from cluster.drift.far import expected_share, limit_share
from cluster.drift.profile import Profile
from cluster.drift.stability import expected_by_chance, limit_by_chance, stability_parts
from cluster.outcome import FloatMatrix

LEVEL = 0.001
CHANGED, MUCH = 0.1, 0.25
# Beyond what is expected, which is one of a hundred of those a router was trained on.
FAR_MATTERS = 0.04
TRAINED, CALIBRATED = "the router was trained on", "it was calibrated on"
UNKNOWN = (
    "drift is not known: the router's checkpoint has no profile of its training queries (it is "
    "older than profiles, or learned from fewer than 100 queries); train the router again to have "
    "one"
)


@dataclass(frozen=True)
class Known:
    """Queries that a file's ought to be like.

    Attributes:
        shares: (n_clusters,) of them, by nearest centroid.
        n: how many evenly drawn ones would say as much.
        far_rank: how many of `n` lie at or beyond the distance from which a query is far away.
        words: which queries these are.
    """

    shares: FloatMatrix
    n: float
    far_rank: float
    words: str

    @classmethod
    def trained(cls, profile: Profile) -> Self:
        """Those a router was trained on."""
        return cls(profile.shares, profile.n, profile.far_rank, TRAINED)

    @classmethod
    def calibrated(cls, counts: DriftCounts) -> Self:
        """Those of a calibration, counted on the profile of the training queries.

        The distance is that of a training query and lies between two of these: at most the farther
        one's rank is taken, which is one more.
        """
        rank = min(counts.far_share * counts.n + 1, counts.n)
        return cls(counts.shares, counts.n, rank, CALIBRATED)


@dataclass(frozen=True)
class Drift:
    """How far a file's queries are from those that it ought to be like.

    Attributes:
        rows, sampled: rows of the file, and those looked at.
        psi: population stability index over the clusters.
        psi_by_chance: its mean where nothing has changed.
        psi_limit: what it exceeds in one file of a thousand where nothing has changed.
        far: share of the queries far away from all training queries.
        far_expected, far_limit: the same of these two.
        shares, trained: (n_clusters,) shares of the file's queries, and of those it is judged
            against.
        parts: (n_clusters,) what each adds to the index.
        names: (n_clusters,) of the clusters.
        known: which queries it is judged against.
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
    known: str

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
        return self.far > self.far_limit and self.far - self.far_expected >= FAR_MATTERS

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, in words; empty where nothing is."""
        found = []
        if self.is_other_mix:
            much = "a quite different" if self.excess >= MUCH else "another"
            found.append(
                f"{much} mix of queries than {self.known}: population stability index "
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


def drift(
    counts: DriftCounts, *, profile: Profile, calibrated: DriftCounts | None = None
) -> Drift | None:
    """The judgement; None where no row was looked at.

    Args:
        counts: of the file.
        profile: of the training queries, against which the file is judged.
        calibrated: of the rows of a calibration, against which it is judged instead.
    """
    if not counts.sampled:
        return None
    known = Known.trained(profile) if calibrated is None else Known.calibrated(calibrated)
    sizes = {"n_first": counts.n, "n_second": known.n}
    n_clusters = len(known.shares)
    parts = stability_parts(counts.shares, second=known.shares, **sizes)
    return Drift(
        rows=counts.rows,
        sampled=counts.sampled,
        psi=float(parts.sum()),
        psi_by_chance=expected_by_chance(n_clusters, **sizes),
        psi_limit=limit_by_chance(n_clusters, level=LEVEL, **sizes),
        far=counts.far_share,
        far_expected=expected_share(known.far_rank, n_train=known.n),
        far_limit=limit_share(known.far_rank, n_train=known.n, n=counts.n, level=LEVEL),
        shares=tuple(counts.shares.tolist()),
        trained=tuple(known.shares.tolist()),
        parts=tuple(parts.tolist()),
        names=profile.names,
        known=known.words,
    )


def refusal(
    counts: DriftCounts | None, *, profile: Profile | None, calibrated: DriftCounts | None = None
) -> str | None:
    """Why a promise about new queries does not hold for this file; None where nothing says so.

    Where nothing is known (`UNKNOWN`) nothing is refused: who promises says so beside it.

    Args:
        counts: of the file.
        profile: of the training queries.
        calibrated: of the rows that the promise rests on; None judges by the training queries.
    """
    if counts is None or profile is None:
        return None
    found = drift(counts, profile=profile, calibrated=calibrated)
    return "; ".join(found.alarms) if found and found.alarms else None


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

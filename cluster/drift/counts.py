"""How many of a file's queries lie where: counted on a sample of each shard, added over shards."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.drift.profile import Profile
from cluster.drift.space import Space
from cluster.query import digest

Rows = npt.NDArray[np.int64]
# Of each shard. Lexical vectors of a thousand rows take some 20 ms, where a shard of 50,000 takes a
# second; a pretrained encoder's are what routing takes most of its time for, and shards are small.
ROWS_A_SHARD: dict[Space, int] = {"lexical": 1_000, "router": 200}


@dataclass(frozen=True)
class DriftCounts:
    """What was counted, scaled up to all rows.

    Attributes:
        clusters: (n_clusters,) rows whose nearest centroid is this one.
        far: rows beyond the distance.
        rows: all rows, of which a sample was looked at.
        sampled: rows looked at.
        squares: sum of the squares of the rows that each one looked at stands for.
    """

    clusters: tuple[float, ...]
    far: float
    rows: int
    sampled: int
    squares: float

    @property
    def n(self) -> float:
        """How many evenly drawn rows would say as much (Kish 1965)."""
        return self.rows**2 / self.squares if self.squares else 0.0

    def __add__(self, other: "DriftCounts") -> "DriftCounts":
        """Those of both shards."""
        return DriftCounts(
            tuple(a + b for a, b in zip(self.clusters, other.clusters, strict=True)),
            self.far + other.far,
            self.rows + other.rows,
            self.sampled + other.sampled,
            self.squares + other.squares,
        )

    def as_json(self) -> dict[str, Any]:
        """As JSON values; `DriftCounts.of` is the inverse."""
        return vars(self) | {"clusters": list(self.clusters)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "DriftCounts":
        """From JSON values."""
        return cls(**(values | {"clusters": tuple(values["clusters"])}))


def sampled_rows(n_rows: int, *, shard: str, most: int) -> Rows:
    """Positions of at most `most` rows to look at, ascending; the same for the same shard.

    Rows are drawn and not texts: a query that makes up a tenth of a file must be a tenth of what is
    looked at, and by its text's hash it would be there or not.
    """
    if n_rows <= most:
        return np.arange(n_rows)
    rng = np.random.default_rng(int(digest(["drift", shard, n_rows])[:15], 16))
    return np.sort(rng.choice(n_rows, most, replace=False))


def count_shard(
    texts: pl.Series, *, profile: Profile, shard: str
) -> tuple[DriftCounts, Rows, Rows]:
    """The counts of a shard, with the positions looked at and the cluster of each.

    Args:
        texts: (n_rows,) the shard's queries.
        profile: of the training queries.
        shard: the shard's name, which the draw hangs on.
    """
    rows = sampled_rows(len(texts), shard=shard, most=ROWS_A_SHARD[profile.space])
    if not len(rows):
        return no_counts(profile), rows, rows
    placed = profile.place(texts.gather(rows))
    stands_for = len(texts) / len(rows)
    counted = np.bincount(placed.cluster, minlength=len(profile.shares)) * stands_for
    counts = DriftCounts(
        clusters=tuple(counted.tolist()),
        far=float((placed.distance > profile.far_distance).sum() * stands_for),
        rows=len(texts),
        sampled=len(rows),
        squares=float(len(rows) * stands_for**2),
    )
    return counts, rows, placed.cluster


def no_counts(profile: Profile) -> DriftCounts:
    """Nothing counted."""
    return DriftCounts((0.0,) * len(profile.shares), 0.0, 0, 0, 0.0)

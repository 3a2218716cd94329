"""How many of a file's queries lie where: counted on a sample of each shard, added over shards."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.drift.profile import Profile
from cluster.drift.repeats import BUCKETS, distinct
from cluster.drift.space import Space
from cluster.encoders.kmeans import Labels
from cluster.outcome import FloatMatrix
from cluster.query import digest

Rows = npt.NDArray[np.int64]
# Of each shard. Lexical vectors of a thousand rows take some 20 ms, where a shard of 50,000 takes a
# second; a pretrained encoder's are what routing takes most of its time for, and shards are small.
ROWS_A_SHARD: dict[Space, int] = {"lexical": 1_000, "router": 200}


@dataclass(frozen=True)
class DriftCounts:
    """What was counted; a row that was looked at weighs as many as it stands for.

    Attributes:
        clusters: (n_clusters,) weight of the rows whose nearest centroid is this one.
        far: weight of the rows beyond the distance.
        rows: all rows, of which a sample was looked at.
        sampled: rows looked at.
        squares: sum of the squares of the weights of texts, within each shard.
        sketch: of the texts' weights in all shards, to tell how much they repeat between them;
            nothing where no shard will be added.
        sketched: sum of the squares of each shard's own sketch.
    """

    clusters: tuple[float, ...]
    far: float
    rows: int
    sampled: int
    squares: float
    sketch: tuple[float, ...] = ()
    sketched: float = 0.0

    @property
    def n(self) -> float:
        """How many evenly drawn texts would say as much; see `cluster.drift.repeats`."""
        squares = self._all_squares()
        return sum(self.clusters) ** 2 / squares if squares else 0.0

    def _all_squares(self) -> float:
        """With the texts that stand in several shards."""
        return self.squares + max(0.0, _sum_of_squares(self.sketch) - self.sketched)

    def closed(self) -> "DriftCounts":
        """The same in short, to which no shard can be added."""
        return replace(self, squares=self._all_squares(), sketch=(), sketched=0.0)

    @property
    def shares(self) -> FloatMatrix:
        """(n_clusters,) of the rows, by nearest centroid."""
        return np.array(self.clusters) / sum(self.clusters)

    @property
    def far_share(self) -> float:
        """Of the rows, beyond the distance."""
        return self.far / sum(self.clusters)

    def __add__(self, other: "DriftCounts") -> "DriftCounts":
        """Those of both shards."""
        return DriftCounts(
            tuple(a + b for a, b in zip(self.clusters, other.clusters, strict=True)),
            self.far + other.far,
            self.rows + other.rows,
            self.sampled + other.sampled,
            self.squares + other.squares,
            tuple(a + b for a, b in zip(self.sketch, other.sketch, strict=True)),
            self.sketched + other.sketched,
        )

    def as_json(self) -> dict[str, Any]:
        """As JSON values; `DriftCounts.of` is the inverse."""
        return vars(self) | {"clusters": list(self.clusters), "sketch": list(self.sketch)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "DriftCounts":
        """From JSON values."""
        lists = {name: tuple(values[name]) for name in ("clusters", "sketch")}
        return cls(**(values | lists))


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
    weight = np.full(len(rows), len(texts) / len(rows))
    counts, cluster = count_rows(texts.gather(rows), profile=profile, weight=weight)
    return replace(counts, rows=len(texts)), rows, cluster


def count_rows(
    texts: pl.Series, *, profile: Profile, weight: FloatMatrix
) -> tuple[DriftCounts, Labels]:
    """The counts of rows that are all looked at, and the cluster of each; a text is placed once.

    Args:
        texts: (n_rows,) queries.
        profile: of the training queries.
        weight: (n_rows,) above 0.
    """
    once = distinct(texts)
    placed = profile.place(texts.gather(once.first))
    weights, n_clusters = once.weights(weight), len(profile.shares)
    sketch = tuple(once.sketch(weights).tolist())
    counts = DriftCounts(
        clusters=tuple(np.bincount(placed.cluster, weights=weights, minlength=n_clusters).tolist()),
        far=float(weights[placed.distance > profile.far_distance].sum()),
        rows=len(texts),
        sampled=len(texts),
        squares=float((weights**2).sum()),
        sketch=sketch,
        sketched=_sum_of_squares(sketch),
    )
    return counts, placed.cluster[once.place]


def no_counts(profile: Profile) -> DriftCounts:
    """Nothing counted."""
    return DriftCounts((0.0,) * len(profile.shares), 0.0, 0, 0, 0.0, (0.0,) * BUCKETS)


def _sum_of_squares(values: Iterable[float]) -> float:
    return sum(value * value for value in values)

"""The queries a new candidate is scored on first: a few hundred that stand for all the others.

Evenly over the tasks, and within a task evenly over k-means clusters of the queries' vectors, so
that every kind of query is asked. Half of a cluster's draws go to the quarter of its queries on
which the known candidates disagree most, because there a newcomer can make a difference; the other
half are those nearest to the centroid. How many queries each drawn one stands for is kept as its
`sampling_probability`, and whoever learns from a probe weights by its inverse.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.encoders.encoder import Vectors
from cluster.encoders.kmeans import k_means, nearest
from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix

Rows = npt.NDArray[np.int64]

# What is calibrated or tested on is no business of training, and a probe is training.
PROBE_SPLITS = ("train", "validation")
# Draws from a cluster: two of either kind.
DRAWS_A_CLUSTER = 4
DISPUTED_SHARE = 0.25


def choose_probe(
    outcomes: OutcomeMatrix, *, vectors: Vectors, size: int, seed: int
) -> OutcomeMatrix:
    """The chosen queries with what is known of them; equal for equal input and seed.

    Args:
        outcomes: of the known candidates; rows of other splits than train and validation, without
            a reward, or repeating an earlier text are never chosen.
        vectors: (n_queries, d), an encoder's, of every row of `outcomes`.
        size: queries to choose; fewer where there are fewer.
        seed: of the clustering.

    Raises:
        InputError: no query can be chosen.
    """
    assert len(vectors) == len(outcomes), f"{len(vectors)} vectors of {len(outcomes)} queries"
    eligible = eligible_rows(outcomes)
    if not len(eligible) or size < 1:
        raise InputError(
            "there is no query to probe a candidate with: expected scored queries of split "
            "train or validation, and a size of at least 1"
        )
    rng = np.random.default_rng(seed)
    chosen: list[tuple[Rows, float]] = []
    for rows, quota in by_task(outcomes, eligible, size=size):
        chosen += draw_task(rows, quota=quota, outcomes=outcomes, vectors=vectors, rng=rng)
    rows = np.concatenate([drawn for drawn, _ in chosen])
    shares = np.concatenate([np.full(len(drawn), share) for drawn, share in chosen])
    return with_probability(outcomes, rows, shares)


def eligible_rows(outcomes: OutcomeMatrix) -> Rows:
    """Rows that may be chosen, in order: of the right splits, scored, each text once."""
    scored = pl.Series("scored", np.asarray(outcomes.mask.any(axis=1)))
    usable = (
        outcomes.queries.select("text", "split", scored)
        .with_row_index("row")
        .filter(pl.col("split").is_in(PROBE_SPLITS) & pl.col("scored"))
        .unique("text", keep="first", maintain_order=True)
    )
    return usable["row"].to_numpy().astype(np.int64)


def by_task(outcomes: OutcomeMatrix, rows: Rows, *, size: int) -> Iterator[tuple[Rows, int]]:
    """Each task's rows and how many of them to draw; tasks in the order of their names."""
    names, task = np.unique(outcomes.tasks[rows], return_inverse=True)
    parts = [rows[task == place] for place in range(len(names))]
    yield from zip(parts, even_quotas([len(part) for part in parts], size=size), strict=True)


def even_quotas(sizes: list[int], *, size: int) -> list[int]:
    """How many to take of each, as evenly as their sizes allow; the sum is min(size, all)."""
    quotas = [0] * len(sizes)
    left = min(size, sum(sizes))
    while left:
        open_places = [place for place, have in enumerate(sizes) if quotas[place] < have]
        share = max(1, left // len(open_places))
        for place in open_places[:left]:
            more = min(share, sizes[place] - quotas[place])
            quotas[place] += more
            left -= more
    return quotas


def draw_task(
    rows: Rows,
    *,
    quota: int,
    outcomes: OutcomeMatrix,
    vectors: Vectors,
    rng: np.random.Generator,
) -> list[tuple[Rows, float]]:
    """Drawn rows and the share of their stratum that was drawn, stratum by stratum."""
    if not quota:
        return []
    own = vectors[rows]
    centroids = k_means(own, n_clusters=max(1, round(quota / DRAWS_A_CLUSTER)), rng=rng)
    cluster = nearest(own, centroids)
    distance = np.linalg.norm(own - centroids[cluster], axis=1)
    dispute = disagreement(outcomes.reward[rows])
    places = [np.flatnonzero(cluster == place) for place in range(len(centroids))]
    chosen: list[tuple[Rows, float]] = []
    for place, n in zip(places, even_quotas([len(p) for p in places], size=quota), strict=True):
        for stratum, drawn in strata(distance[place], dispute[place], n=n):
            if len(drawn):
                chosen.append((rows[place[drawn]], len(drawn) / len(stratum)))
    return chosen


def strata(distance: FloatMatrix, dispute: FloatMatrix, *, n: int) -> Iterator[tuple[Rows, Rows]]:
    """The disputed quarter and the rest of a cluster, each with the rows drawn of it.

    A cluster with one draw is one stratum: two could not both be spoken for.
    """
    order = np.lexsort((distance, -dispute))
    n_disputed = round(len(order) * DISPUTED_SHARE)
    if n < 2 or not n_disputed:
        yield order, order[np.argsort(distance[order], kind="stable")][:n]
        return
    disputed, rest = order[:n_disputed], order[n_disputed:]
    n_rest = min(max(n - n // 2, n - n_disputed), len(rest))
    yield disputed, disputed[: n - n_rest]
    yield rest, rest[np.argsort(distance[rest], kind="stable")][:n_rest]


def disagreement(reward: FloatMatrix) -> FloatMatrix:
    """(n,): variance of each row's known rewards; 0 where fewer than two are known."""
    known = ~np.isnan(reward)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, reward, 0.0).sum(axis=1) / count
    squared = np.where(known, (reward - mean[:, None]) ** 2, 0.0).sum(axis=1)
    return np.asarray(squared / count)


def with_probability(outcomes: OutcomeMatrix, rows: Rows, shares: FloatMatrix) -> OutcomeMatrix:
    """The rows, their `sampling_probability` multiplied by the share that was drawn."""
    drawn = outcomes.take(rows)
    probability = pl.col("sampling_probability") * pl.Series("share", shares)
    return replace(drawn, queries=drawn.queries.with_columns(sampling_probability=probability))

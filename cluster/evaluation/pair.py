"""Two candidates, a strong and a weak: how well a router spends the strong one's calls.

RouteLLM (ICLR 2025, arXiv 2406.18665), section 2. A router orders the queries by how much it
expects the strong candidate to gain (predicted reward of the strong minus that of the weak). A cut
at share c sends the first c of them to the strong one:

    PGR(c) = (reward(c) - reward(weak)) / (reward(strong) - reward(weak))
    APGR   = area under PGR over c in [0, 1]; the random order has 1/2
    CPT(x) = the least c with PGR(c) >= x

The curve here is exact, over all cuts. Queries of equal score cannot be told apart, so a cut
through a block of them sends a random part: the curve is a straight line there. All is over
queries, not over tasks, as in the paper. Rewards in place of right and wrong work alike.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import InputError
from cluster.evaluation.bootstrap import Bootstrap, row_counts
from cluster.outcome import FloatMatrix

Floats = npt.NDArray[np.floating[Any]]
Positions = npt.NDArray[np.int64]

# Shares of the gap whose price in strong calls is reported, by metric.
TARGETS = {"cpt50": 0.5, "cpt80": 0.8}
# Rows summed up together; 16 and 64 were slower.
BLOCK = 32
# The authors cut at the deciles: eleven thresholds with both ends.
BINS = 10


@dataclass(frozen=True)
class Pair:
    """The two candidates, by name."""

    strong: str
    weak: str


@dataclass(frozen=True)
class PairCurve:
    """The whole curve, both (n_cuts + 1,) and from (0, 0) to (1, 1).

    Attributes:
        share: of the calls that go to the strong candidate, rising.
        pgr: performance gap recovered.
    """

    share: FloatMatrix
    pgr: FloatMatrix


@dataclass(frozen=True)
class Ranking:
    """Queries in the order in which they go to the strong candidate.

    Attributes:
        order: (n_queries,) positions, the highest score first.
        ends: (n_blocks,) where in `order` each block of equal scores ends.
    """

    order: Positions
    ends: Positions


@dataclass(frozen=True)
class Cuts:
    """Sums over blocks of equal scores, for k weightings of the queries; each (k, n_blocks).

    Blocks without any weight at the end change nothing.

    Attributes:
        width, step: weight of the block itself, and what the strong candidate gains on it.
        calls, gain: the same from the first block up to and with this one.
    """

    width: Floats
    step: Floats
    calls: Floats
    gain: Floats


def choose_pair(
    candidates: tuple[str, ...], *, strong: str, weak: str, train_reward: FloatMatrix
) -> Pair | None:
    """The pair that was named, or the only two candidates, the better on train as the strong one.

    None where nothing is named and there are not exactly two.

    Args:
        candidates: names, the order of the columns.
        strong, weak: names; both or neither empty.
        train_reward: (n_candidates,), macro means on train.

    Raises:
        InputError: an unknown name, only one name, or twice the same.
    """
    if not strong and not weak:
        if len(candidates) != 2:
            return None
        better = int(train_reward[1] > train_reward[0])
        return Pair(candidates[better], candidates[1 - better])
    for role, name in (("strong", strong), ("weak", weak)):
        if name not in candidates:
            raise InputError(
                f"{role} candidate '{name}' is not among {', '.join(candidates)}; "
                "name both candidates of the pair"
            )
    if strong == weak:
        raise InputError(f"strong and weak are both '{strong}'; name two different candidates")
    return Pair(strong, weak)


def rank(score: FloatMatrix) -> Ranking:
    """Order (n_queries,) scores; NaN is not allowed."""
    assert not np.isnan(score).any(), "scores must be known"
    order = np.argsort(-score, kind="stable")
    differs = np.flatnonzero(np.diff(score[order]))
    return Ranking(order, np.append(differs, len(score) - 1))


def curve(score: FloatMatrix, *, gain: FloatMatrix) -> PairCurve | None:
    """PGR over the share of strong calls; None where the strong candidate is no better.

    Args:
        score: (n_queries,), the higher the sooner a query goes to the strong candidate.
        gain: (n_queries,), reward of the strong minus that of the weak.
    """
    if not len(gain) or gain.sum() <= 0:
        return None
    ranking = rank(score)
    cuts = cut(np.ones((1, len(gain))), ranking=ranking, gain=gain)
    calls, total = (each[0, : len(ranking.ends)] for each in (cuts.calls, cuts.gain))
    return PairCurve(np.append(0.0, calls / len(gain)), np.append(0.0, total / total[-1]))


def pair_statistics(
    scores: Mapping[str, FloatMatrix],
    *,
    gain: FloatMatrix,
    tasks: npt.NDArray[np.str_],
    bootstrap: Bootstrap,
) -> dict[str, dict[str, FloatMatrix]]:
    """`apgr`, `apgr_11`, `cpt50` and `cpt80` by method, each (1 + resamples,), row 0 the data.

    Every method is measured on the same resamples, those that the other metrics are measured on,
    so differences are paired. A resample in which the strong candidate is no better is NaN.
    Nothing at all where that is so in the data.

    One pass over the counts for all methods: 14,000 queries and 10,000 resamples take two seconds,
    and half of one more a method. Scores are sorted once: only their order is used.

    Args:
        scores: by method, (n_queries,) expected gain.
        gain: (n_queries,), reward of the strong minus that of the weak.
        tasks: (n_queries,).
        bootstrap: how intervals are made.
    """
    if not len(gain) or gain.sum() <= 0:
        return {}
    rows = np.argsort(tasks, kind="stable")
    rankings = {method: rank(score[rows]) for method, score in scores.items()}
    parts: dict[str, list[dict[str, FloatMatrix]]] = {method: [] for method in scores}
    for counts in _weightings(tasks[rows], bootstrap=bootstrap):
        for method, ranking in rankings.items():
            known = gain[rows].astype(counts.dtype)
            parts[method].append(summaries(cut(counts, ranking=ranking, gain=known)))
    return {
        method: {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        for method, found in parts.items()
    }


def with_lift(
    statistics: Mapping[str, Mapping[str, FloatMatrix]], *, over: str
) -> dict[str, dict[str, FloatMatrix]]:
    """Add every other method's `apgr_lift_over_<over>`, where that method is measured."""
    if over not in statistics:
        return {method: dict(found) for method, found in statistics.items()}
    base, name = statistics[over]["apgr"], f"apgr_lift_over_{over}"
    return {
        method: dict(found) if method == over else {**found, name: found["apgr"] - base}
        for method, found in statistics.items()
    }


def _weightings(tasks: npt.NDArray[np.str_], *, bootstrap: Bootstrap) -> Iterator[Floats]:
    """The data itself in double precision, then chunks of resamples in single: counts are exact,
    sums of 14,000 gains good to five digits, and it is twice as fast."""
    yield np.ones((1, len(tasks)))
    yield from row_counts(tasks, bootstrap=bootstrap)


def cut(counts: Floats, *, ranking: Ranking, gain: Floats) -> Cuts:
    """Running sums of (k, n_queries) weights and of the gains, (n_queries,), they bring."""
    n_queries = len(gain)
    padding = np.zeros(-n_queries % BLOCK, dtype=np.int64)
    width = counts.take(np.append(ranking.order, padding), axis=1)
    width[:, n_queries:] = 0
    step = width * np.append(gain[ranking.order], padding.astype(gain.dtype))
    calls, total = running_sums(width), running_sums(step)
    if len(ranking.ends) == n_queries:
        return Cuts(width, step, calls, total)
    calls, total = calls[:, ranking.ends], total[:, ranking.ends]
    width, step = (np.diff(each, axis=1, prepend=0) for each in (calls, total))
    return Cuts(width, step, calls, total)


def running_sums(values: Floats) -> Floats:
    """`np.cumsum` along the rows of (k, n), n a multiple of `BLOCK`, three times as fast.

    Sums within a block are a product with a triangle of ones, which needs no addition to wait for
    the one before it.
    """
    blocks = values.reshape(len(values), -1, BLOCK)
    sums = blocks @ np.triu(np.ones((BLOCK, BLOCK), dtype=values.dtype))
    sums[:, 1:] += np.cumsum(sums[:, :-1, -1], axis=1)[:, :, None]
    return sums.reshape(values.shape)


def summaries(cuts: Cuts) -> dict[str, FloatMatrix]:
    """Every metric of k curves, each (k,); NaN where the strong candidate gains nothing."""
    found = {"apgr": area(cuts), "apgr_11": area_of_deciles(cuts)}
    found |= {name: calls_for(cuts, target=target) for name, target in TARGETS.items()}
    gains = cuts.gain[:, -1] > 0
    return {name: np.where(gains, value, np.nan) for name, value in found.items()}


def area(cuts: Cuts) -> FloatMatrix:
    """(k,): exact area under each curve, by trapezoids between the ends of the blocks."""
    to_the_end = np.einsum("kb,kb->k", cuts.width, cuts.gain)
    below = to_the_end - np.einsum("kb,kb->k", cuts.width, cuts.step) / 2
    return _share_of_all(below, cuts)


def area_of_deciles(cuts: Cuts) -> FloatMatrix:
    """(k,): the area as the authors' code has it, which published numbers are.

    Thresholds at the eleven quantiles 0, 0.1, …, 1 of the scores (linear interpolation between
    order statistics); scores at or above a threshold go to the strong candidate, none at the last;
    trapezoids between those eleven points. Their code fails on tied scores; here tied ones go
    together.
    """
    places = np.array([_decile_places(row) for row in cuts.calls])
    ends = (np.take_along_axis(each, places, axis=1) for each in (cuts.calls, cuts.gain))
    calls, gain = (np.pad(each.astype(np.float64), ((0, 0), (1, 0))) for each in ends)
    below: FloatMatrix = (np.diff(calls, axis=1) * (gain[:, 1:] + gain[:, :-1]) / 2).sum(axis=1)
    return _share_of_all(below, cuts)


def _decile_places(calls: Floats) -> Positions:
    """(10,) the last block above each threshold of one curve but the highest, all at the end."""
    n = round(float(calls[-1]))
    # The quantile i/10 lies at (n - 1) i / 10 of the rising scores; what is at or above it is the
    # element at the next whole position with all that equal it, and everything higher.
    whole = -(-(n - 1) * np.arange(BINS - 1, -1, -1) // BINS)
    return np.searchsorted(calls, (n - 1 - whole).astype(calls.dtype), side="right")


def calls_for(cuts: Cuts, *, target: float) -> FloatMatrix:
    """(k,): CPT, the least share of strong calls that recovers `target` of the gap."""
    rows = np.arange(len(cuts.gain))
    goal = target * cuts.gain[:, -1]
    place = (cuts.gain >= goal[:, None]).argmax(axis=1)
    before = np.maximum(place - 1, 0)
    start = np.where(place > 0, cuts.gain[rows, before], 0.0)
    first = np.where(place > 0, cuts.calls[rows, before], 0.0)
    rise, width = cuts.gain[rows, place] - start, cuts.calls[rows, place] - first
    part = np.divide(goal - start, rise, out=np.zeros(len(rows)), where=rise > 0)
    needed: FloatMatrix = (first + part * width) / cuts.calls[:, -1]
    return needed


def _share_of_all(below: Floats, cuts: Cuts) -> FloatMatrix:
    """(k,): an area in calls times gain, as a share of the square of all calls and all gain."""
    square = cuts.calls[:, -1].astype(np.float64) * cuts.gain[:, -1]
    share: FloatMatrix = np.divide(
        below, square, out=np.full(len(square), np.nan), where=square > 0
    )
    return share

"""Whether the scorers of a dataset agree about who answers better."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from cluster.outcome import FloatMatrix
from cluster.quality.alarm import Alarm, percent
from cluster.quality.collected import Collected

# Pairs of answers that are looked at, by lot of the queries: their share is then known to 0.1 %.
MOST_PAIRS = 5_000_000
# Fewer cells in common say nothing.
ENOUGH_CELLS = 30
# Of three pairs one the other way round: two scorers that hardly measure the same thing.
MANY_REVERSED = 1 / 3
# An AUC of one half is a coin.
COIN = 0.6


@dataclass(frozen=True)
class Agreement:
    """Two scorers on the cells that both have rewarded.

    Attributes:
        first, second: names.
        cells: how many both have rewarded.
        rank_correlation: Spearman's, over cells; None where one gives all the same reward.
        pairs: answers of two candidates to one query that both scorers tell apart.
        reversed: share of these that the two put the other way round; None where there is none.
        gold: the one whose rewards are 0 and 1 alone, where only one is such; else "".
        auc: how well the other one tells answers that gold calls right from wrong ones: the chance
            that a right one gets the higher reward, ties half; None without gold.
    """

    first: str
    second: str
    cells: int
    rank_correlation: float | None
    pairs: int
    reversed: float | None
    gold: str
    auc: float | None


def agreements(found: Collected) -> list[Agreement]:
    """Every two scorers with enough cells in common."""
    scorers = [found.cells, *found.others]
    compared = [
        agreement((first.name, second.name), first=first.reward, second=second.reward)
        for place, first in enumerate(scorers)
        for second in scorers[place + 1 :]
    ]
    return [one for one in compared if one.cells >= ENOUGH_CELLS]


def agreement(names: tuple[str, str], *, first: FloatMatrix, second: FloatMatrix) -> Agreement:
    """Of two scorers' rewards, each (n_queries, n_candidates), NaN where there is none."""
    both = ~np.isnan(first) & ~np.isnan(second)
    a, b = first[both], second[both]
    pairs, reversed_pairs = _reversed(first, second)
    gold, auc = _gold(names, a, b)
    return Agreement(
        first=names[0],
        second=names[1],
        cells=len(a),
        rank_correlation=rank_correlation(a, b),
        pairs=pairs,
        reversed=reversed_pairs / pairs if pairs else None,
        gold=gold,
        auc=auc,
    )


def ranks(values: FloatMatrix) -> FloatMatrix:
    """(n,): ranks from 1, ties at their mean."""
    return np.asarray(pl.Series(values).rank("average").to_numpy(), dtype=np.float64)


def rank_correlation(a: FloatMatrix, b: FloatMatrix) -> float | None:
    """Spearman's correlation, ties at their mean rank; None where one is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def _reversed(first: FloatMatrix, second: FloatMatrix) -> tuple[int, int]:
    """Pairs of answers to one query that both tell apart, and how many the other way round."""
    n, width = first.shape
    most = max(1, MOST_PAIRS // max(1, width * (width - 1) // 2))
    if n > most:
        rows = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
        first, second = first[rows], second[rows]
    apart = other_way = 0
    for column in range(width - 1):
        a = np.sign(first[:, column + 1 :] - first[:, [column]])
        b = np.sign(second[:, column + 1 :] - second[:, [column]])
        signs = np.nan_to_num(a * b)
        apart += int((signs != 0).sum())
        other_way += int((signs < 0).sum())
    return apart, other_way


def _gold(names: tuple[str, str], a: FloatMatrix, b: FloatMatrix) -> tuple[str, float | None]:
    """Which of two is gold, if one is, and how well the other one agrees with it."""
    binary = [set(np.unique(values).tolist()) == {0.0, 1.0} for values in (a, b)]
    if sum(binary) != 1:
        return "", None
    place = binary.index(True)
    gold, other = (a, b) if place == 0 else (b, a)
    return names[place], auc(other, gold=gold)


def auc(values: FloatMatrix, *, gold: FloatMatrix) -> float:
    """Chance that a row of gold 1 has a higher value than one of gold 0, ties half."""
    right = gold == 1
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    above = float(ranks(values)[right].sum()) - n_right * (n_right + 1) / 2
    return above / (n_right * n_wrong)


def alarms(found: list[Agreement]) -> Iterator[Alarm]:
    """Scorers that disagree about who answers better."""
    for one in found:
        other = one.second if one.gold == one.first else one.first
        if one.auc is not None and one.auc < COIN:
            yield Alarm(
                "agreement",
                f"{other} hardly tells right from wrong answers: AUC {one.auc:.2f} against "
                f"{one.gold}, where a coin has 0.50.",
                f"Do not train on {other} alone here; look at answers that {one.gold} calls right "
                "and it rates low.",
            )
        elif one.reversed is not None and one.reversed > MANY_REVERSED:
            yield Alarm(
                "agreement",
                f"{one.first} and {one.second} put {percent(one.reversed)} of {one.pairs:,} pairs "
                "of answers the other way round.",
                "They measure different things: choose the one that matters, or combine them by "
                "weights (scorer 'weighted').",
            )

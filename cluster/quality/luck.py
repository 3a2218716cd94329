"""How much of the oracle is luck.

An oracle takes the best of several draws. Where an answer is right by chance, the best of many
draws is right more often than any choice made beforehand can be: the oracle of one draw a cell is
too high, and the more candidates there are the more so. With several samples a cell this can be
measured:

- one draw: the best of one sample a candidate, in the mean over the samples;
- means: the best mean of all samples, still a little too high;
- honest: the candidate with the best mean of one half of the samples, measured on the other half.
  No luck is left in it, and a choice by half the samples is a little worse than one by all.

Imported means of right or wrong answers are as good: of draws that are right with chances p, the
best is right with the chance 1 - prod(1 - p), and how many right ones of all fall into one half is
a hypergeometric draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cluster.outcome import FloatMatrix
from cluster.quality.alarm import Alarm, gap
from cluster.quality.collected import Collected, places
from cluster.quality.comparable import Comparable

# Means over fewer queries say more about these queries than about luck.
ENOUGH_QUERIES = 30
# A share of the gain that is luck, above which a gain is not what it seems.
MUCH = 0.3
# Samples of a cell that are looked at; more take memory and tell little more.
MOST_SAMPLES = 16
# A mean times its samples is a whole number where these were right or wrong, but for rounding.
WHOLE = 1e-6
EQUAL = 1e-9
# Times that samples known by their mean are split in two: their error is then that of the queries.
SPLITS = 8

Halves = tuple[FloatMatrix, FloatMatrix]


@dataclass(frozen=True)
class Luck:
    """What several draws a cell say of the oracle; means over tasks of the rows that have them.

    Attributes:
        samples: how many cells have 1, 2, ... samples: number of samples → cells.
        queries: with at least two samples in every compared cell.
        best_single: on these, of the candidate that is best on them.
        one_draw, means: see above.
        honest: see above.
        by_chance: of all compared rows, the oracle of candidates that are right by chance alone,
            each as often as it is on the task; None unless rewards are 0 and 1.
        is_unit: whether rewards are between 0 and 1.
    """

    samples: dict[int, int]
    queries: int
    best_single: float | None = None
    one_draw: float | None = None
    means: float | None = None
    honest: float | None = None
    by_chance: float | None = None
    is_unit: bool = True

    @property
    def inflation(self) -> float | None:
        """How much too high the oracle of one draw is."""
        if self.one_draw is None or self.honest is None:
            return None
        return self.one_draw - self.honest


def luck(found: Collected, data: Comparable) -> Luck:
    """Measured where there are several samples; else what cannot be known is None."""
    counts = np.rint(found.cells.samples[~np.isnan(found.cells.reward)]).astype(np.int64)
    numbers, cells = np.unique(counts, return_counts=True)
    samples = {int(number): int(n) for number, n in zip(numbers, cells, strict=True)}
    several = (found.cells.samples[np.ix_(data.rows, data.columns)] >= 2).all(axis=1)
    chance = by_chance(data) if data.is_binary and len(data) else None
    told = Luck(samples=samples, queries=int(several.sum()), by_chance=chance, is_unit=data.is_unit)
    if several.sum() < ENOUGH_QUERIES:
        return told
    rows = data.rows[several]
    part = _Part(
        data.reward[several],
        samples=found.cells.samples[np.ix_(rows, data.columns)],
        weights=_weights(data.tasks[several]),
    )
    drawn = _drawn(found, rows=rows, columns=data.columns)
    if drawn is None and not part.is_counted:
        return told
    return replace(
        told,
        best_single=float((part.weights @ part.reward).max()),
        one_draw=part.of_chances() if drawn is None else part.of_draws(drawn),
        means=float(part.weights @ part.reward.max(axis=1)),
        honest=part.honest(_halves(part) if drawn is None else [_split(drawn)]),
    )


def _weights(tasks: np.ndarray[tuple[int], np.dtype[np.str_]]) -> FloatMatrix:
    _, task, counts = np.unique(tasks, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[task]), dtype=np.float64)


@dataclass(frozen=True)
class _Part:
    """Rows with several samples: mean rewards and numbers of samples, each (n, n_candidates), and
    weights, (n,)."""

    reward: FloatMatrix
    samples: FloatMatrix
    weights: FloatMatrix

    def of_draws(self, drawn: FloatMatrix) -> float:
        """Mean over samples of the best of one sample a candidate."""
        return float(self.weights @ drawn.max(axis=1).mean(axis=1))

    def of_chances(self) -> float:
        """The same, where rewards are means of right and wrong answers."""
        return float(self.weights @ (1 - np.prod(1 - self.reward, axis=1)))

    @property
    def is_counted(self) -> bool:
        """Whether rewards are such means: times their samples, they are whole numbers."""
        right = self.reward * self.samples
        whole = np.abs(right - np.rint(right)) < WHOLE
        return bool((whole & (self.reward >= 0) & (self.reward <= 1)).all())

    def honest(self, halves: Sequence[Halves]) -> float:
        """Chosen by one half of the samples, measured on the other, both ways; ties by lot."""
        values = []
        for one, other in halves:
            for chosen_by, measured_on in ((one, other), (other, one)):
                best = chosen_by >= chosen_by.max(axis=1, keepdims=True) - EQUAL
                values.append((measured_on * best).sum(axis=1) / best.sum(axis=1))
        return float(self.weights @ np.mean(values, axis=0))


def _split(drawn: FloatMatrix) -> Halves:
    """Means of every other sample, each (n, n_candidates)."""
    return drawn[:, :, 0::2].mean(axis=2), drawn[:, :, 1::2].mean(axis=2)


def _halves(part: _Part) -> list[Halves]:
    """The same of means of right and wrong answers, split by lot a few times."""
    rng = np.random.default_rng(0)
    samples = np.rint(part.samples).astype(np.int64)
    right = np.rint(part.reward * samples).astype(np.int64)
    half = samples // 2
    drawn = [rng.hypergeometric(right, samples - right, half) for _ in range(SPLITS)]
    return [(one / half, (right - one) / (samples - half)) for one in drawn]


def _drawn(
    found: Collected,
    *,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    columns: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> FloatMatrix | None:
    """(n, n_candidates, n_samples): as many single samples as all these cells have.

    None where a cell has no two of them: it was imported as a mean.
    """
    ordered = found.cells.given.sort("row", "column", "sample")
    place = places(ordered, found.shape)
    starts = np.r_[0, np.flatnonzero(np.diff(place)) + 1] if len(place) else np.zeros(0, np.int64)
    first = np.full(found.shape[0] * found.shape[1], -1, dtype=np.int64)
    number = np.zeros_like(first)
    first[place[starts]] = starts
    number[place[starts]] = np.diff(np.r_[starts, len(place)])
    wanted = rows[:, None] * found.shape[1] + columns[None, :]
    n_samples = int(number[wanted].min())
    if n_samples < 2:
        return None
    n_samples = min(n_samples, MOST_SAMPLES)
    values = ordered["value"].to_numpy()
    return np.stack([values[first[wanted] + step] for step in range(n_samples)], axis=2)


def by_chance(data: Comparable) -> float:
    """Oracle of candidates that are right by chance, each as often as it is on a row's task."""
    tasks = np.unique(data.tasks)
    missed = [np.prod(1 - data.reward[data.tasks == task].mean(axis=0)) for task in tasks]
    return float(1 - np.mean(missed))


def alarms(found: Luck) -> Iterator[Alarm]:
    """An oracle whose gain is luck for a good part."""
    inflation, best = found.inflation, found.best_single
    if inflation is None or best is None or found.one_draw is None:
        return
    gain = found.one_draw - best
    if gain > 0 and inflation > MUCH * gain:
        whole, lucky = (gap(part, is_unit=found.is_unit) for part in (gain, inflation))
        yield Alarm(
            "luck",
            f"Of the {whole} that an oracle of one draw gains over the best candidate, {lucky} are "
            "luck: no choice made beforehand can have them.",
            "Compare routers with the honest oracle; label with several samples a query.",
        )

"""Paired bootstrap over queries, stratified by task, or over whole tasks.

Every column of values is resampled with the same weights, so any difference of columns is paired.
Statistics are arrays of shape (1 + resamples, ...): row 0 is the data itself, the others are the
resamples. Arithmetic on such arrays gives the arithmetic's value and its resamples at once.

Percentile intervals (Efron and Tibshirani 1993, chapter 13). One matrix product of resampling
counts and values a chunk: 10,000 rows x 10,000 resamples x 30 columns take about a second.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

# 8 MB of counts at a time: memory stays flat, and larger chunks were no faster.
CHUNK_CELLS = 2**20
# For running sums over rows, several arrays of this many cells should stay in the cache.
CHUNK_CELLS_OF_ROWS = 2**18


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        resamples: number of resamples.
        seed: of the resampling.
        level: of the intervals.
        unit: "query" redraws queries within each task: how sure we are on these tasks. "task"
            redraws tasks and keeps their queries: how sure we are on tasks never seen.
    """

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.95
    unit: Literal["query", "task"] = "query"


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TaskEstimates:
    """The means of one task, each (n_columns,), with intervals over its queries."""

    n: int
    value: FloatMatrix
    low: FloatMatrix
    high: FloatMatrix


@dataclass(frozen=True)
class Resampled:
    """Means of every column, on the data (row 0) and on every resample.

    Attributes:
        macro: (1 + resamples, n_columns), mean over tasks of the tasks' means.
        micro: (1 + resamples, n_columns), mean over queries.
        by_task: of each task, by name, sorted; empty where not asked for.
    """

    macro: FloatMatrix
    micro: FloatMatrix
    by_task: dict[str, TaskEstimates]


def resample(
    values: FloatMatrix,
    *,
    tasks: npt.NDArray[np.str_],
    bootstrap: Bootstrap,
    each_task: bool = True,
) -> Resampled:
    """Means and resampled means of `values`, (n_queries, n_columns) without NaN.

    Equal columns get equal results, bit for bit. Where `each_task` is False, `by_task` stays
    empty: the quantiles of 50 tasks take longer than everything else.
    """
    assert len(values), "nothing to resample"
    assert not np.isnan(values).any(), "values must be known"
    columns, position = distinct_columns(values)
    shape = (1 + bootstrap.resamples, columns.shape[1])
    macro, micro = np.zeros(shape), np.zeros(shape)
    by_task: dict[str, TaskEstimates] = {}
    names = np.unique(tasks).tolist()
    weights = task_weights(len(names), bootstrap)
    drawn = np.zeros(shape[0])
    for name, weight in zip(names, weights, strict=True):
        rows = columns[tasks == name]
        means = resampled_means(rows, seed=(bootstrap.seed, name), resamples=bootstrap.resamples)
        if each_task:
            by_task[name] = task_estimates(
                means, n=len(rows), level=bootstrap.level, order=position
            )
        kept = np.broadcast_to(means[0], shape) if bootstrap.unit == "task" else means
        macro += weight[:, None] * kept
        micro += (weight * len(rows))[:, None] * kept
        drawn += weight * len(rows)
    macro /= len(names)
    micro /= drawn[:, None]
    return Resampled(macro[:, position], micro[:, position], by_task)


def distinct_columns(values: FloatMatrix) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
    """The columns that differ, and for each column of `values` where it is among them.

    A matrix product may round equal columns differently, by where they stand; then a method
    would differ from its twin by 1e-17 instead of 0.
    """
    places: dict[bytes, int] = {}
    position = [places.setdefault(column.tobytes(), len(places)) for column in values.T]
    _, first = np.unique(position, return_index=True)
    return np.ascontiguousarray(values[:, first]), np.array(position, dtype=np.int64)


def task_weights(n_tasks: int, bootstrap: Bootstrap) -> FloatMatrix:
    """(n_tasks, 1 + resamples): how often each task is drawn; all once for unit "query"."""
    weights = np.ones((n_tasks, 1 + bootstrap.resamples))
    if bootstrap.unit == "task":
        rng = np.random.default_rng([bootstrap.seed, n_tasks])
        even = np.full(n_tasks, 1 / n_tasks)
        weights[:, 1:] = rng.multinomial(n_tasks, even, size=bootstrap.resamples).T
    return weights


def resampled_means(rows: FloatMatrix, *, seed: tuple[int, str], resamples: int) -> FloatMatrix:
    """(1 + resamples, n_columns): mean of `rows`, then of each resample of them.

    `seed` holds the task's name, so a task's resamples do not depend on the other tasks.
    """
    counts = resampling_counts(len(rows), rng=task_generator(*seed), resamples=resamples)
    parts = [np.ones((1, len(rows))) @ rows, *(part @ rows for part in counts)]
    means: FloatMatrix = np.concatenate(parts) / len(rows)
    return means


def task_generator(seed: int, task: str) -> np.random.Generator:
    """What the resamples of one task are drawn from."""
    return np.random.default_rng([seed, *hashlib.sha256(task.encode()).digest()])


def resampling_counts(
    n_rows: int, *, rng: np.random.Generator, resamples: int, at_once: int | None = None
) -> Iterator[FloatMatrix]:
    """Chunks (k, n_rows), `resamples` rows in all: how often each row is drawn, of n_rows draws.

    `at_once`: rows of a chunk; the draws are the same whatever it is.
    """
    step = at_once or max(1, CHUNK_CELLS // n_rows)
    for start in range(0, resamples, step):
        k = min(step, resamples - start)
        drawn = rng.integers(0, n_rows, size=(k, n_rows))
        drawn += np.arange(k)[:, None] * n_rows
        counts = np.bincount(drawn.ravel(), minlength=k * n_rows)
        yield counts.reshape(k, n_rows).astype(np.float64)


def row_counts(
    tasks: npt.NDArray[np.str_], *, bootstrap: Bootstrap
) -> Iterator[npt.NDArray[np.float32]]:
    """Chunks (k, n_queries), float32: how often each query is drawn, the same draws as `resample`.

    For statistics that are no function of means, such as the area under a curve. The tasks must
    stand together, in the order of their names: the counts of a task are one block.
    """
    names, sizes = np.unique(tasks, return_counts=True)
    assert (tasks == np.repeat(names, sizes)).all(), "rows must be sorted by task"
    step = max(1, CHUNK_CELLS_OF_ROWS // len(tasks))
    if bootstrap.unit == "task":
        drawn = task_weights(len(names), bootstrap)[:, 1:].T.astype(np.float32)
        for start in range(0, len(drawn), step):
            yield np.repeat(drawn[start : start + step], sizes, axis=1)
        return
    parts = [
        resampling_counts(
            size,
            rng=task_generator(bootstrap.seed, name),
            resamples=bootstrap.resamples,
            at_once=step,
        )
        for name, size in zip(names.tolist(), sizes.tolist(), strict=True)
    ]
    for chunk in zip(*parts, strict=True):
        yield np.concatenate(chunk, axis=1, dtype=np.float32, casting="same_kind")


def task_estimates(
    means: FloatMatrix, *, n: int, level: float, order: npt.NDArray[np.int64]
) -> TaskEstimates:
    """Value and interval of every column of (1 + resamples, n_distinct), put in `order`."""
    low, high = np.quantile(means[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return TaskEstimates(n=n, value=means[0][order], low=low[order], high=high[order])


def estimate(statistic: FloatMatrix, *, level: float) -> Estimate | None:
    """Of (1 + resamples,): its value and percentile interval; None where it is undefined.

    Resamples where it is undefined (a ratio whose denominator is 0) are left out.
    """
    defined = statistic[1:][~np.isnan(statistic[1:])]
    if np.isnan(statistic[0]) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(statistic[0]), float(low), float(high))

"""What choosing by query could gain at most, and with whom."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.evaluation.bootstrap import Bootstrap, Estimate, estimate, resample
from cluster.outcome import FloatMatrix
from cluster.quality.alarm import Alarm, gap
from cluster.quality.comparable import Comparable

# Draws of the bootstrap, over all resamples: about 1 s. Many queries need few resamples.
DRAWS = 50_000_000
FEWEST, MOST = 200, 2_000
# Later steps add next to nothing, and a table of a thousand candidates is long.
MOST_STEPS = 12
# A point, or a hundredth of the rewards' standard deviation where they are not between 0 and 1:
# less is hard to find again with another thousand queries.
LITTLE = 0.01
# The oracle of fewer gains nothing that those left out would be missed for.
ENOUGH_OF_GAIN = 0.95
ROUNDING = 1e-12


@dataclass(frozen=True)
class TaskGain:
    """One task: the best candidate of all, the task's own best, the oracle, and the difference."""

    task: str
    n: int
    best_single: float
    own_best: str
    own_best_reward: float
    oracle: float
    gain: Estimate


@dataclass(frozen=True)
class Complementarity:
    """Means over tasks.

    Attributes:
        best: name of the candidate with the highest mean over tasks.
        best_single: its mean.
        task_lookup: mean of each task's own best candidate.
        oracle: mean of each query's best reward.
        gain: oracle minus best single, with a 95 % interval over queries.
        by_task: the same by task, the largest gain first.
        subset: candidates in the order in which they raise the oracle most.
        subset_oracle: (n,), the oracle of the first, the first two, ...
        is_unit: whether rewards are between 0 and 1.
        little: a gain that is next to nothing.
    """

    best: str
    best_single: float
    task_lookup: float
    oracle: float
    gain: Estimate
    by_task: tuple[TaskGain, ...]
    subset: tuple[str, ...]
    subset_oracle: FloatMatrix
    is_unit: bool
    little: float


def complementarity(data: Comparable, *, seed: int = 0) -> Complementarity:
    """Measured on the complete rows; there must be one."""
    oracle, weights = data.reward.max(axis=1), data.weights
    means = weights @ data.reward
    best = first_best(means)
    bootstrap = Bootstrap(resamples=int(np.clip(DRAWS // len(data), FEWEST, MOST)), seed=seed)
    gain = oracle - data.reward[:, best]
    resampled = resample(gain[:, None], tasks=data.tasks, bootstrap=bootstrap)
    intervals = {
        name: Estimate(float(one.value[0]), float(one.low[0]), float(one.high[0]))
        for name, one in resampled.by_task.items()
    }
    by_task = [_of_task(data, name, best=best, gain=one) for name, one in intervals.items()]
    whole = estimate(resampled.macro[:, 0], level=bootstrap.level)
    assert whole is not None, "there is a row"
    subset, subset_oracle = greedy_subset(data.reward, weights=weights)
    return Complementarity(
        best=data.candidates[best],
        best_single=float(means[best]),
        task_lookup=float(np.mean([one.own_best_reward for one in by_task])),
        oracle=float(weights @ oracle),
        gain=whole,
        by_task=tuple(sorted(by_task, key=lambda one: -one.gain.value)),
        subset=tuple(data.candidates[column] for column in subset),
        subset_oracle=subset_oracle,
        is_unit=data.is_unit,
        little=LITTLE if data.is_unit else LITTLE * float(data.reward.std()),
    )


def first_best(means: FloatMatrix) -> int:
    """Place of the greatest, the first of those that differ by a rounding."""
    return int(np.flatnonzero(means >= means.max() - ROUNDING)[0])


def _of_task(data: Comparable, task: str, *, best: int, gain: Estimate) -> TaskGain:
    rows = data.reward[data.tasks == task]
    means = rows.mean(axis=0)
    own = first_best(means)
    return TaskGain(
        task=task,
        n=len(rows),
        best_single=float(means[best]),
        own_best=data.candidates[own],
        own_best_reward=float(means[own]),
        oracle=float(rows.max(axis=1).mean()),
        gain=gain,
    )


def greedy_subset(
    reward: FloatMatrix, *, weights: FloatMatrix, most: int = MOST_STEPS
) -> tuple[Sequence[int], FloatMatrix]:
    """Columns in the order in which each raises the oracle most, and the oracle after each.

    The oracle of a set is submodular, so this is within 1 - 1/e of the best set of every size
    (Nemhauser, Wolsey and Fisher 1978).

    Args:
        reward: (n_queries, n_candidates), without NaN.
        weights: (n_queries,), of each row in the mean.
        most: columns to choose at most.
    """
    chosen: list[int] = []
    values: list[float] = []
    reached: npt.NDArray[np.float64] | None = None
    for _ in range(min(most, reward.shape[1])):
        left = [column for column in range(reward.shape[1]) if column not in chosen]
        raised = [_oracle(reward[:, column], reached) for column in left]
        means = [float(weights @ one) for one in raised]
        place = first_best(np.array(means))
        chosen.append(left[place])
        values.append(means[place])
        reached = raised[place]
    return chosen, np.array(values)


def _oracle(column: FloatMatrix, reached: FloatMatrix | None) -> FloatMatrix:
    return column if reached is None else np.maximum(column, reached)


def enough(found: Complementarity) -> int:
    """How many of the subset have nearly all the gain that all candidates have."""
    gained = found.subset_oracle - found.subset_oracle[0]
    wanted = ENOUGH_OF_GAIN * (found.oracle - found.subset_oracle[0])
    reaching = np.flatnonzero(gained >= wanted - ROUNDING)
    return int(reaching[0]) + 1 if len(reaching) else len(gained)


def alarms(found: Complementarity) -> Iterator[Alarm]:
    """Nothing, or next to nothing, to be gained by routing for quality."""
    value, low, high = (
        gap(part, is_unit=found.is_unit)
        for part in (found.gain.value, found.gain.low, found.gain.high)
    )
    if found.gain.high < found.little:
        yield Alarm(
            "complementarity",
            f"Even the best choice for every query gains only {value} over {found.best} alone "
            f"(95 % interval {low} to {high}).",
            "Route for cost instead, or bring in candidates that are strong where this one fails.",
        )

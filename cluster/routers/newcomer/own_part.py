"""A candidate that a fitted router has not seen, taken up from a few hundred scored queries.

What it is worth on a query is split in two:

    reward(q, new) = slope * level(q) + own(q)

`level(q)` is what the router expects of the candidates it knows, on average: how hard the query is,
which all of the training rows have told. `own(q)` is what is left, and the few probes have to tell
only that: they are smoothed as the method smooths (task and clusters; neighbours; the mean over
tasks). The slope is a regression within the probe's tasks, drawn towards a half: a language model
finds hard what others find hard, but the level is an estimate. Where the others did better on a
probe than was expected, it was easier than it looks, and the newcomer's value is lowered by what
that explains (a control variate).

Without the level a newcomer would seem good wherever the others are bad, and whatever chose the
probes by how much the others disagree on them would be taken for a property of the newcomer. Each
probe counts for the queries it was drawn for: 1 / `sampling_probability`.
Completion tokens are expected in the same way.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.means import column_means, group_means, shrunk_sums
from cluster.routers.router import Router

Groups = npt.NDArray[np.int64]

# How far newcomers follow the level before anything is seen of them: half, give or take a half. The
# level is an estimate itself, so 1 would follow its noise as well.
SLOPE_EXPECTED = 0.5
SLOPE_DEVIATION = 0.5
# The others' tokens vary by thousands and their rewards by less than one; both have variance.
NO_VARIANCE = 1e-9


@dataclass(frozen=True)
class OwnPart:
    """What of a newcomer's values the others' level does not tell.

    Attributes:
        slope: how far the newcomer follows the level.
        rows: (n_known,) rows of the probe where the newcomer has a value.
        values: (n_known,), value - slope * level.
        weight: (n_known,) queries that each row stands for.
    """

    slope: float
    rows: Groups
    values: FloatMatrix
    weight: FloatMatrix

    def group_means(self, groups: Groups, *, n_groups: int, strength: float) -> FloatMatrix:
        """(n_groups,): each group's mean, drawn towards the mean over the groups.

        `groups`: (n_known,). A group without a row has that mean.
        """
        own, weight = self.values[:, None], self.weight[:, None]
        totals = [group_means(each, groups, n_groups=n_groups) for each in (own * weight, weight)]
        centre = column_means(totals[0] / totals[1])
        scaled = (own - centre) * weight / totals[1][groups]
        sums = shrunk_sums(scaled, groups, n_groups=n_groups, strength=strength)
        return np.asarray((centre + sums)[:, 0])


def own_parts(
    router: Router, candidate: str, *, probe: OutcomeMatrix
) -> tuple[OwnPart, OwnPart | None]:
    """The newcomer's own part of rewards and of tokens; None where its tokens are not known."""
    expected = router.predict(probe.texts)
    reward = _own_part(
        probe.reward, expected=expected.reward, candidate=candidate, router=router, probe=probe
    )
    assert reward is not None, "with_candidate leaves rows with a reward only"
    tokens = _own_part(
        probe.completion_tokens,
        expected=expected.completion_tokens,
        candidate=candidate,
        router=router,
        probe=probe,
    )
    return reward, tokens


def _own_part(
    values: FloatMatrix,
    *,
    expected: FloatMatrix,
    candidate: str,
    router: Router,
    probe: OutcomeMatrix,
) -> OwnPart | None:
    """`values`: (n_probe, n_probe_candidates); `expected`: (n_probe, n_router_candidates)."""
    new = values[:, probe.candidates.index(candidate)]
    rows = np.flatnonzero(~np.isnan(new))
    if not len(rows):
        return None
    columns = [place for place, name in enumerate(router.candidates) if name in probe.candidates]
    others = values[:, [probe.candidates.index(router.candidates[place]) for place in columns]]
    level, surprise = levels(expected)[rows], levels(others - expected[:, columns])[rows]
    within = _Within.of(probe.tasks[rows], weight=queries_stood_for(probe)[rows])
    slope = within.slope(new[rows], level, prior=SLOPE_EXPECTED, deviation=SLOPE_DEVIATION)
    left = new[rows] - slope * level
    left = left - within.slope(left, surprise) * surprise
    return OwnPart(slope, rows, left, within.weight)


def queries_stood_for(probe: OutcomeMatrix) -> FloatMatrix:
    """(n_probe,): how many queries each row was drawn for."""
    return np.asarray(1.0 / probe.queries["sampling_probability"].to_numpy())


def task_by_task(probe: OutcomeMatrix) -> FloatMatrix:
    """(n_probe,): how many queries each row was drawn for, on average 1 within every task."""
    weight = queries_stood_for(probe)
    task = np.unique(probe.tasks, return_inverse=True)[1].astype(np.int64)
    means = group_means(weight[:, None], task, n_groups=int(task.max()) + 1)
    return np.asarray(weight / means[task, 0])


def expected_rewards(router: Router, candidate: str, *, probe: OutcomeMatrix) -> FloatMatrix:
    """(n_probe,): slope * level + own part, the newcomer's reward without the others' surprise."""
    part, _ = own_parts(router, candidate, probe=probe)
    level = levels(router.predict(probe.texts).reward)[part.rows]
    return np.asarray(part.slope * level + part.values)


def levels(values: FloatMatrix) -> FloatMatrix:
    """(n,): the mean of each row's known values; 0 where there is none."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(known.sum(axis=1), 1))


@dataclass(frozen=True)
class _Within:
    """Weighted least squares within tasks.

    Attributes:
        task: (n,) number of each row's task.
        weight: (n,), on average 1.
    """

    task: Groups
    weight: FloatMatrix

    @classmethod
    def of(cls, tasks: npt.NDArray[np.str_], *, weight: FloatMatrix) -> "_Within":
        return cls(np.unique(tasks, return_inverse=True)[1], weight / weight.mean())

    def centred(self, values: FloatMatrix) -> FloatMatrix:
        """(n,): the values less their task's mean."""
        columns = np.column_stack([values * self.weight, self.weight])
        means = group_means(columns, self.task, n_groups=int(self.task.max()) + 1)[self.task]
        return np.asarray(values - means[:, 0] / means[:, 1])

    def slope(
        self,
        values: FloatMatrix,
        level: FloatMatrix,
        *,
        prior: float = 0.0,
        deviation: float = np.inf,
    ) -> float:
        """Of the values on the level, never below 0.

        `prior` and `deviation`: what slopes are on average and how much they differ, before any
        row is seen; the prior itself where the level is the same throughout.
        """
        y, x = self.centred(values), self.centred(level)
        strength = float(self.weight @ y**2) / len(y) / deviation**2
        total = float(self.weight @ x**2) + strength
        if total <= NO_VARIANCE * len(y):
            return prior
        return max(0.0, (float(self.weight @ (x * y)) + strength * prior) / total)


def add_macro_mean(
    means: FloatMatrix, *, part: OwnPart | None, probe: OutcomeMatrix
) -> FloatMatrix:
    """(n_candidates + 1,): macro means with that of the newcomer; NaN without a part."""
    if part is None:
        return np.append(means, np.nan)
    names, task = np.unique(probe.tasks[part.rows], return_inverse=True)
    own = part.group_means(task, n_groups=len(names), strength=0.0)
    return np.append(means, part.slope * levels(means[None]) + own.mean())

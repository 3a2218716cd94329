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

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from cluster.encoders.encoder import Vectors
from cluster.encoders.kmeans import nearest
from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.means import column_means, group_means, macro_means, shrunk_sums
from cluster.routers.router import Router

if TYPE_CHECKING:
    from cluster.routers.best_single import BestSingleRouter
    from cluster.routers.cluster_table import ClusterTableRouter, Tables
    from cluster.routers.knn import KnnRouter
    from cluster.routers.multihead import MultiheadRouter
    from cluster.routers.predicted_task import PredictedTaskRouter
    from cluster.routers.ridge import RidgeRouter

Groups = npt.NDArray[np.int64]

# Probes at which a task's, and a cluster's, own part counts half: as in a fit on all rows.
TASK_SHRINKAGE = 10.0
CLUSTER_SHRINKAGE = 100.0
# Probes a training row's own part is the mean of, and how many the mean of all counts as.
PROBE_NEIGHBOURS = 20
PROBE_SHRINKAGE = 5.0
# Of a candidate's vector against the mean of the others': four answers on one query count as much.
VECTOR_PENALTY = 1.0
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


def with_candidate(
    router: Router, candidate: str, *, probe: OutcomeMatrix, seed: int = 0
) -> Router:
    """The router with one more candidate, in the last column; the others' predictions stay.

    Args:
        router: fitted without the candidate.
        candidate: its name, a column of `probe`.
        probe: outcomes of the newcomer, and as far as known of the others, on queries that the
            router was or could have been fitted on (`cluster.lake.probe`), never on test rows.
        seed: of everything random.

    Raises:
        InputError: the router knows the candidate already, the probe has no reward of it, or the
            method cannot take one up.
    """
    if candidate in router.candidates:
        raise InputError(f"candidate '{candidate}' is one of the router's already")
    if candidate not in probe.candidates:
        raise InputError(
            f"candidate '{candidate}' has no outcomes in the probe; those that have: "
            f"{', '.join(probe.candidates)}"
        )
    known = probe.take(probe.mask[:, probe.candidates.index(candidate)])
    if not len(known):
        raise InputError(f"candidate '{candidate}' has no reward on any probe: score it first")
    return router.adding(candidate, probe=known, seed=seed)


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
    within = _Within.of(probe.tasks[rows], weight=1.0 / _probability(probe)[rows])
    slope = within.slope(new[rows], level, prior=SLOPE_EXPECTED, deviation=SLOPE_DEVIATION)
    left = new[rows] - slope * level
    left = left - within.slope(left, surprise) * surprise
    return OwnPart(slope, rows, left, within.weight)


def _probability(probe: OutcomeMatrix) -> FloatMatrix:
    return probe.queries["sampling_probability"].to_numpy()


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


def add_to_best_single(
    router: "BestSingleRouter", candidate: str, *, probe: OutcomeMatrix
) -> "BestSingleRouter":
    """The macro means with one more column: the mean over the probe's tasks."""
    reward, tokens = own_parts(router, candidate, probe=probe)
    return type(router)(
        (*router.candidates, candidate),
        reward=add_macro_mean(router.reward, part=reward, probe=probe),
        completion_tokens=add_macro_mean(router.completion_tokens, part=tokens, probe=probe),
    )


def add_macro_mean(
    means: FloatMatrix, *, part: OwnPart | None, probe: OutcomeMatrix
) -> FloatMatrix:
    """(n_candidates + 1,): macro means with that of the newcomer; NaN without a part."""
    if part is None:
        return np.append(means, np.nan)
    names, task = np.unique(probe.tasks[part.rows], return_inverse=True)
    own = part.group_means(task, n_groups=len(names), strength=0.0)
    return np.append(means, part.slope * levels(means[None]) + own.mean())


def add_to_knn(router: "KnnRouter", candidate: str, *, probe: OutcomeMatrix) -> "KnnRouter":
    """The training rows with one more column: what the newcomer is expected to be worth on each.

    Left unknown but for the probes, 80 neighbours of 5,000 rows would hold 5 of 300 probes, and
    the newcomer would have its mean everywhere.
    """
    probes = router.encoder.encode(probe.texts)
    columns, priors = [], []
    for known, prior, part in zip(
        (router.reward, router.completion_tokens),
        router.prior,
        own_parts(router, candidate, probe=probe),
        strict=True,
    ):
        column, mean = np.full(len(known), np.nan), np.nan
        if part is not None:
            own = float(macro_means(part.values[:, None], probe.tasks[part.rows])[0])
            near = smoothed(part, probes[part.rows], router.vectors, prior=own)
            common = float(levels(prior[None])[0])
            column = near + part.slope * (common + levels(known - prior))
            mean = part.slope * common + own
        columns.append(np.column_stack([known, column]))
        priors.append(np.append(prior, mean))
    return type(router)(
        (*router.candidates, candidate),
        encoder=router.encoder,
        vectors=router.vectors,
        reward=columns[0],
        completion_tokens=columns[1],
        prior=np.stack(priors),
        k=router.k,
        shrinkage=router.shrinkage,
    )


def smoothed(part: OwnPart, probes: Vectors, vectors: Vectors, *, prior: float) -> FloatMatrix:
    """(n,): mean of the own parts of the nearest probes, drawn towards the prior.

    `probes`: (n_known, d); `vectors`: (n, d).
    """
    k = min(PROBE_NEIGHBOURS, len(probes))
    similarity = vectors @ probes.T
    index = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    near, weight = part.values[index], part.weight[index]
    scaled = weight / weight.mean(axis=1, keepdims=True)
    total = (near * scaled).sum(axis=1) + PROBE_SHRINKAGE * prior
    return np.asarray(total / (k + PROBE_SHRINKAGE))


def add_to_cluster_table(
    router: "ClusterTableRouter", candidate: str, *, probe: OutcomeMatrix
) -> "ClusterTableRouter":
    """The tasks' means and the tables' residuals with one more column."""
    vectors = router.encoder.encode(probe.texts)
    task = router.classifier.predict(vectors)
    clusters = table_clusters(router.tables, vectors)
    known = (
        (router.task_reward, router.tables.reward),
        (router.task_tokens, router.tables.completion_tokens),
    )
    added = [
        _add_columns(by_task, by_cluster, part=part, task=task, clusters=clusters)
        for (by_task, by_cluster), part in zip(
            known, own_parts(router, candidate, probe=probe), strict=True
        )
    ]
    (task_reward, reward), (task_tokens, tokens) = added
    return type(router)(
        (*router.candidates, candidate),
        encoder=router.encoder,
        classifier=router.classifier,
        task_reward=task_reward,
        task_tokens=task_tokens,
        tables=replace(router.tables, reward=reward, completion_tokens=tokens),
    )


def table_clusters(tables: "Tables", vectors: Vectors) -> Groups:
    """(n_tables, n): the row of the tables that holds each vector's cluster."""
    starts = np.cumsum([0, *tables.sizes])
    return np.stack(
        [
            start + nearest(vectors, tables.centroids[start : start + size])
            for start, size in zip(starts, tables.sizes, strict=False)
        ]
    )


def _add_columns(
    by_task: FloatMatrix,
    by_cluster: FloatMatrix,
    *,
    part: OwnPart | None,
    task: Groups,
    clusters: Groups,
) -> tuple[FloatMatrix, FloatMatrix]:
    """The tasks' means and the clusters' residuals with one more column; NaN without a part."""
    own_cluster = np.full(len(by_cluster), np.nan)
    if part is not None:
        own = own_by_task(part, task, n_tasks=len(by_task))
        left = part.values - own[task[part.rows]]
        residuals = shrunk_sums(
            np.tile(left, len(clusters))[:, None],
            clusters[:, part.rows].ravel(),
            n_groups=len(by_cluster),
            strength=CLUSTER_SHRINKAGE,
        )
        own_cluster = residuals[:, 0] + part.slope * levels(by_cluster)
    return add_task_column(by_task, part=part, task=task), np.column_stack(
        [by_cluster, own_cluster]
    )


def own_by_task(part: OwnPart, task: Groups, *, n_tasks: int) -> FloatMatrix:
    """(n_tasks,): the own part's means; `task`: (n_probe,)."""
    return part.group_means(task[part.rows], n_groups=n_tasks, strength=TASK_SHRINKAGE)


def add_task_column(by_task: FloatMatrix, *, part: OwnPart | None, task: Groups) -> FloatMatrix:
    """(n_tasks, n_candidates + 1): the tasks' means with one more column; NaN without a part."""
    column = np.full(len(by_task), np.nan)
    if part is not None:
        column = own_by_task(part, task, n_tasks=len(by_task)) + part.slope * levels(by_task)
    return np.column_stack([by_task, column])


def add_to_predicted_task(
    router: "PredictedTaskRouter", candidate: str, *, probe: OutcomeMatrix
) -> "PredictedTaskRouter":
    """The tasks' means with one more column."""
    task = router.classifier.predict(router.encoder.encode(probe.texts))
    reward, tokens = own_parts(router, candidate, probe=probe)
    return type(router)(
        (*router.candidates, candidate),
        encoder=router.encoder,
        classifier=router.classifier,
        reward=add_task_column(router.reward, part=reward, task=task),
        completion_tokens=add_task_column(router.completion_tokens, part=tokens, task=task),
    )


def add_to_ridge(router: "RidgeRouter", candidate: str, *, probe: OutcomeMatrix) -> "RidgeRouter":
    """The tasks' means and the weights with one more column.

    Within a task the newcomer follows the others' level and has nothing of its own: what separates
    candidates there needed a penalty of 10,000 and more on RouterDC's 6,000 rows.
    """
    task = router.classifier.predict(router.encoder.encode(probe.texts))
    means, weights = [], []
    for by_task, weight, part in zip(
        router.task_means,
        router.weights,
        own_parts(router, candidate, probe=probe),
        strict=True,
    ):
        column = np.full(len(weight), np.nan) if part is None else part.slope * levels(weight)
        means.append(add_task_column(by_task, part=part, task=task))
        weights.append(np.column_stack([weight, column]))
    return type(router)(
        (*router.candidates, candidate),
        encoder=router.encoder,
        classifier=router.classifier,
        task_means=np.stack(means),
        weights=np.stack(weights),
        length=router.length,
        length_weight=router.length_weight,
    )


def add_to_multihead(
    router: "MultiheadRouter", candidate: str, *, probe: OutcomeMatrix
) -> "MultiheadRouter":
    """The candidates' vectors and biases with one more, near the mean of the others'.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    reward = probe.reward[:, probe.candidates.index(candidate)]
    if reward.min() < 0 or reward.max() > 1:
        raise InputError(
            f"candidate '{candidate}': rewards from {reward.min():g} to {reward.max():g}, expected "
            "0 to 1; use --normalisation min_max"
        )
    reduce, known = router.head["reduce.weight"], router.head["candidates"]
    bias = router.head["bias"]
    queries = router.embed(probe.texts).astype(np.float64) @ reduce.T.astype(np.float64)
    placed = place_candidate(
        np.column_stack([queries, np.ones(len(queries))]),
        reward,
        weight=1.0 / _probability(probe),
        others=np.column_stack([known, bias]).astype(np.float64),
    ).astype(known.dtype)
    head = {
        **router.head,
        "candidates": np.vstack([known, placed[:-1]]),
        "bias": np.append(bias, placed[-1:]),
    }
    tokens = own_parts(router, candidate, probe=probe)[1]
    return type(router)(
        (*router.candidates, candidate),
        settings=router.settings,
        encoder=router.encoder,
        head=head,
        scale=router.scale,
        completion_tokens=add_macro_mean(router.completion_tokens, part=tokens, probe=probe),
    )


def place_candidate(
    queries: FloatMatrix, reward: FloatMatrix, *, weight: FloatMatrix, others: FloatMatrix
) -> FloatMatrix:
    """(rank + 1,): the vector v that minimises soft cross-entropy + penalty / 2 · |v − mean|².

    Args:
        queries: (n, rank + 1), a column of ones behind.
        reward: (n,), in [0, 1].
        weight: (n,) queries that each row stands for.
        others: (n_candidates, rank + 1), whose mean is what is expected before anything is seen.
    """
    from scipy.optimize import minimize

    mean, scaled = others.mean(axis=0), weight / weight.mean()

    def loss(vector: FloatMatrix) -> tuple[float, FloatMatrix]:
        logit, away = queries @ vector, vector - mean
        entropy = np.logaddexp(0.0, logit) - reward * logit
        slope = queries.T @ (scaled * (expit(logit) - reward))
        return (
            float(scaled @ entropy + 0.5 * VECTOR_PENALTY * (away @ away)),
            slope + VECTOR_PENALTY * away,
        )

    return np.asarray(minimize(loss, mean, jac=True, method="L-BFGS-B").x)

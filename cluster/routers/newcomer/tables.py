"""Tables and neighbours: the newcomer's own part is smoothed as the method smooths."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cluster.encoders.encoder import Vectors
from cluster.encoders.kmeans import nearest
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.means import macro_means, shrunk_sums
from cluster.routers.newcomer.own_part import Groups, OwnPart, add_macro_mean, levels, own_parts

if TYPE_CHECKING:
    from cluster.routers.best_single import BestSingleRouter
    from cluster.routers.cluster_table import ClusterTableRouter, Tables
    from cluster.routers.knn import KnnRouter
    from cluster.routers.lora_retriever import LoraRetrieverRouter
    from cluster.routers.predicted_task import PredictedTaskRouter
    from cluster.routers.ridge import RidgeRouter

# Probes at which a task's, and a cluster's, own part counts half: as in a fit on all rows.
TASK_SHRINKAGE = 10.0
CLUSTER_SHRINKAGE = 100.0
# Probes a training row's own part is the mean of, and how many the mean of all counts as.
PROBE_NEIGHBOURS = 20
PROBE_SHRINKAGE = 5.0


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


def add_to_lora_retriever(
    router: "LoraRetrieverRouter", candidate: str, *, probe: OutcomeMatrix
) -> "LoraRetrieverRouter":
    """The clusters' means with one more column; a few probes a cluster are drawn to their mean."""
    cluster = nearest(router.encoder.encode(probe.texts), router.centroids)
    reward, tokens = own_parts(router, candidate, probe=probe)
    return type(router)(
        (*router.candidates, candidate),
        encoder=router.encoder,
        centroids=router.centroids,
        reward=add_task_column(router.reward, part=reward, task=cluster),
        completion_tokens=add_task_column(router.completion_tokens, part=tokens, task=cluster),
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

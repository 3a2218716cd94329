"""Ridge regression of the rewards on the query's vector, over the predicted task's mean.

    reward(q, c) = task_mean[task(q), c] + intercept[c]
                   + [vector(q), length_weight * z(log length(q))] @ weights[:, c]

`task(q)` is predicted from the vector and the regression is on what the task leaves over, so that
its penalty draws towards the task and not towards 0. What all candidates have in common is
regressed apart from what separates them, each with the penalty under which the training rows are
most likely (`cluster.routers.shrinkage`). Log length is an input of its own at a fixed weight
(vectors have norm 1): it is the one surface feature that was found to carry over to new tasks.
Completion tokens are expected in the same way. Exact: one eigendecomposition of the Gram matrix
for all candidates that are known on the same queries.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.encoded import EncodedMethod
from cluster.routers.means import shrunk_means
from cluster.routers.newcomer.tables import add_to_ridge
from cluster.routers.router import Prediction, Router, RouterState
from cluster.routers.shrinkage import Parts, evidence_penalty
from cluster.routers.surface import Standard, log_length
from cluster.routers.task_classifier import TaskClassifier, with_intercept


class RidgeRouter(Router):
    """A fitted `Ridge`."""

    method: ClassVar[str] = "ridge"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder,
        classifier: TaskClassifier,
        task_means: FloatMatrix,
        weights: FloatMatrix,
        length: Standard,
        length_weight: float,
    ) -> None:
        """`task_means`: (2, n_tasks, n_candidates), of rewards and of tokens.

        `weights`: (2, d + 2, n_candidates), likewise; log length and the intercept come last.
        """
        self.candidates = candidates
        self.encoder = encoder
        self.classifier = classifier
        self.task_means = task_means
        self.weights = weights
        self.length = length
        self.length_weight = length_weight

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        vectors = self.encoder.encode(texts)
        task = self.classifier.predict(vectors)
        design = with_intercept(
            with_length(vectors, texts, length=self.length, weight=self.length_weight)
        )
        reward, tokens = (
            means[task] + design @ weights
            for means, weights in zip(self.task_means, self.weights, strict=True)
        )
        return Prediction(reward, np.maximum(tokens, 0.0))

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> "RidgeRouter":  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_ridge(self, candidate, probe=probe)

    def state(self) -> RouterState:
        """The encoder, the classifier, the tasks' means and the weights."""
        own = RouterState(
            {"length_weight": self.length_weight},
            {"task_means": self.task_means, "weights": self.weights},
        )
        held = own.holding(self.classifier.state(), name="task")
        return pack_encoder(self.encoder, into=held.holding(self.length.state(), name="length"))

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or the parts do not fit each other.
        """
        encoder = unpack_encoder(state)
        classifier = TaskClassifier.from_state(state.part("task"), dimensions=encoder.dimensions)
        width = len(candidates)
        return cls(
            candidates,
            encoder=encoder,
            classifier=classifier,
            task_means=state.tensor("task_means", shape=(2, len(classifier.tasks), width)),
            weights=state.tensor("weights", shape=(2, encoder.dimensions + 2, width)),
            length=Standard.from_state(state.part("length"), columns=1),
            length_weight=state.value("length_weight", float),
        )


class Ridge(EncodedMethod):
    """Settings of the ridge router.

    Attributes:
        caution: what the estimated penalties are multiplied by. The estimate is right for the
            squared error; a choice is also hurt by every candidate it wrongly prefers.
        penalty: the penalty itself; estimated where it is None.
        length_weight: of the standardised log length beside a vector of norm 1; 0 leaves it out.
        task_shrinkage: rows at which a task's mean counts half against the mean of all tasks.
    """

    name: ClassVar[str] = "ridge"
    router: ClassVar[type[Router]] = RidgeRouter

    caution: float = Field(default=3.0, gt=0)
    penalty: float | None = Field(default=None, gt=0)
    length_weight: float = Field(default=0.1, ge=0)
    task_shrinkage: float = Field(default=10.0, ge=0)

    @classmethod
    def grid(cls) -> list[Self]:
        """From the more cautious to the estimate itself.

        Ten times the estimate was worse out of fold on train wherever there is something to learn:
        by 1.1 points on the demo's questions, by 0.4 on LLMRouter's.
        """
        return [cls(caution=caution) for caution in (3.0, 1.0)]

    def fit_vectors(
        self,
        outcomes: OutcomeMatrix,
        *,
        vectors: Vectors,
        encoder: FittedEncoder,
        seed: int,  # noqa: ARG002 - a closed form leaves nothing to chance
    ) -> RidgeRouter:
        """Fit classifier, task means and weights on the queries' vectors, (n_queries, d)."""
        classifier = TaskClassifier.fit(vectors, outcomes.tasks)
        task = classifier.predict(vectors)
        means = [
            shrunk_means(values, task, n_groups=len(classifier.tasks), strength=self.task_shrinkage)
            for values in (outcomes.reward, outcomes.completion_tokens)
        ]
        length = Standard.fit(log_length(outcomes.texts)[:, None])
        design = with_length(vectors, outcomes.texts, length=length, weight=self.length_weight)
        reward = self._reward_weights(design, outcomes.reward - means[0][task])
        tokens = self._weights(design, outcomes.completion_tokens - means[1][task])
        return RidgeRouter(
            outcomes.candidates,
            encoder=encoder,
            classifier=classifier,
            task_means=np.stack(means),
            weights=np.stack([reward, tokens]),
            length=length,
            length_weight=self.length_weight,
        )

    def _reward_weights(self, design: FloatMatrix, residuals: FloatMatrix) -> FloatMatrix:
        """(d + 1, n_candidates): what is common and what is each candidate's own, added up."""
        if self.penalty is not None:
            return self._weights(design, residuals)
        parts = Parts.of(residuals)
        return self._weights(design, parts.common) + self._weights(design, parts.own)

    def _weights(self, design: FloatMatrix, targets: FloatMatrix) -> FloatMatrix:
        """(d + 1, n_columns) of (n, d) and (n, n_columns); 0 for a column that is not known."""
        weights = np.zeros((design.shape[1] + 1, targets.shape[1]))
        for columns, rows in same_rows(targets):
            weights[:, columns] = self._solve(design[rows], targets[np.ix_(rows, columns)])
        return weights

    def _solve(self, design: FloatMatrix, targets: FloatMatrix) -> FloatMatrix:
        """(d + 1, n_columns): weights and, in the last row, the intercepts; nothing is missing."""
        centre, mean = design.mean(axis=0), targets.mean(axis=0)
        design, targets = design - centre, targets - mean
        values, basis = np.linalg.eigh(design.T @ design)
        spectrum = np.maximum(values, 0.0)
        along = basis.T @ (design.T @ targets)
        penalties = np.array(
            [
                self._penalty(target, along=line, spectrum=spectrum)
                for target, line in zip(targets.T, along.T, strict=True)
            ]
        )
        weights = basis @ (along / (spectrum[:, None] + penalties))
        return np.vstack([weights, mean - centre @ weights])

    def _penalty(self, target: FloatMatrix, *, along: FloatMatrix, spectrum: FloatMatrix) -> float:
        if self.penalty is not None:
            return self.penalty
        return self.caution * evidence_penalty(target, along=along, spectrum=spectrum)


def with_length(
    vectors: Vectors, texts: pl.Series, *, length: Standard, weight: float
) -> FloatMatrix:
    """(n, d + 1) float64: the vectors, and behind them the standardised log length."""
    design = np.empty((len(vectors), vectors.shape[1] + 1))
    design[:, :-1] = vectors
    design[:, -1:] = weight * length.apply(log_length(texts)[:, None])
    return design


def same_rows(
    values: FloatMatrix,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Columns of (n, n_columns) that are known on the same rows, and those rows; none without."""
    known = ~np.isnan(values)
    patterns: dict[bytes, list[int]] = {}
    for column in range(values.shape[1]):
        patterns.setdefault(known[:, column].tobytes(), []).append(column)
    for columns in patterns.values():
        rows = np.flatnonzero(known[:, columns[0]])
        if len(rows):
            yield np.array(columns, dtype=np.int64), rows

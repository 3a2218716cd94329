"""A baseline: which task is it, and which candidate was best on that task?

The task is predicted from the query's vector, so that, other than `task_lookup`, it needs no label
and could route. On RouterDC's data it is hard to beat: 58.6 against 58.7 with the label itself.
"""

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.encoded import EncodedMethod
from cluster.routers.means import group_means, macro_means
from cluster.routers.newcomer.tables import add_to_predicted_task
from cluster.routers.router import Prediction, Router, RouterState
from cluster.routers.task_classifier import TaskClassifier, merge_rare


class PredictedTaskRouter(Router):
    """A fitted `PredictedTask`."""

    method: ClassVar[str] = "predicted_task"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder,
        classifier: TaskClassifier,
        reward: FloatMatrix,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`reward`, `completion_tokens`: (n_tasks, n_candidates), the tasks' means."""
        self.candidates = candidates
        self.encoder = encoder
        self.classifier = classifier
        self.reward = reward
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        task = self.classifier.predict(self.encoder.encode(texts))
        return Prediction(self.reward[task], self.completion_tokens[task])

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> "PredictedTaskRouter":  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_predicted_task(self, candidate, probe=probe)

    def state(self) -> RouterState:
        """The encoder, the classifier and the tasks' means."""
        means = {"reward": self.reward, "completion_tokens": self.completion_tokens}
        own = pack_encoder(self.encoder, into=RouterState({}, means))
        return own.holding(self.classifier.state(), name="task")

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or the parts do not fit each other.
        """
        encoder = unpack_encoder(state)
        classifier = TaskClassifier.from_state(state.part("task"), dimensions=encoder.dimensions)
        shape = (len(classifier.tasks), len(candidates))
        return cls(
            candidates,
            encoder=encoder,
            classifier=classifier,
            reward=state.tensor("reward", shape=shape),
            completion_tokens=state.tensor("completion_tokens", shape=shape),
        )


class PredictedTask(EncodedMethod):
    """Predicted task has no settings but the encoder's."""

    name: ClassVar[str] = "predicted_task"
    router: ClassVar[type[Router]] = PredictedTaskRouter

    def fit_vectors(
        self,
        outcomes: OutcomeMatrix,
        *,
        vectors: Vectors,
        encoder: FittedEncoder,
        seed: int,  # noqa: ARG002 - a ridge regression leaves nothing to chance
    ) -> PredictedTaskRouter:
        """Fit the classifier, and the mean of every task by its label."""
        classifier = TaskClassifier.fit(vectors, outcomes.tasks)
        group = np.searchsorted(np.array(classifier.tasks), merge_rare(outcomes.tasks))
        means = [
            known_or_macro(values, group=group, tasks=outcomes.tasks)
            for values in (outcomes.reward, outcomes.completion_tokens)
        ]
        return PredictedTaskRouter(
            outcomes.candidates,
            encoder=encoder,
            classifier=classifier,
            reward=means[0],
            completion_tokens=means[1],
        )


def known_or_macro(
    values: FloatMatrix,
    *,
    group: npt.NDArray[np.int64],
    tasks: npt.NDArray[np.str_],
) -> FloatMatrix:
    """(n_groups, n_candidates): each group's mean; the macro mean for who is not known there."""
    means = group_means(values, group, n_groups=int(group.max()) + 1)
    return np.where(np.isnan(means), macro_means(values, tasks), means)

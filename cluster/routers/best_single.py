"""The baseline to beat: always the candidate with the highest macro mean reward on train."""

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.newcomer.tables import add_to_best_single
from cluster.routers.router import Method, Prediction, Router, RouterState


class BestSingleRouter(Router):
    """A fitted `BestSingle`: the same answer for every query."""

    method: ClassVar[str] = "best_single"

    def __init__(
        self, candidates: tuple[str, ...], *, reward: FloatMatrix, completion_tokens: FloatMatrix
    ) -> None:
        """`reward`, `completion_tokens`: (n_candidates,), macro means over tasks."""
        self.candidates = candidates
        self.reward = reward
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        shape = (len(texts), 1)
        return Prediction(np.tile(self.reward, shape), np.tile(self.completion_tokens, shape))

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> "BestSingleRouter":  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_best_single(self, candidate, probe=probe)

    def state(self) -> RouterState:
        """The two rows of means."""
        means = {"reward": self.reward, "completion_tokens": self.completion_tokens}
        return RouterState({}, means)

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the means do not fit the candidates.
        """
        shape = (len(candidates),)
        return cls(
            candidates,
            reward=state.tensor("reward", shape=shape),
            completion_tokens=state.tensor("completion_tokens", shape=shape),
        )


class BestSingle(Method):
    """Best single has no settings."""

    name: ClassVar[str] = "best_single"
    router: ClassVar[type[Router]] = BestSingleRouter

    def fit(
        self,
        outcomes: OutcomeMatrix,
        *,
        seed: int,  # noqa: ARG002 - means leave nothing to chance
        context: FitContext = ALONE,  # noqa: ARG002 - nothing to do but count
    ) -> BestSingleRouter:
        """Mean per task, then over the tasks, of what is known.

        Raises:
            InputError: no rows, or a candidate without a reward.
        """
        require_rewards(outcomes)
        return BestSingleRouter(
            outcomes.candidates,
            reward=macro_means(outcomes.reward, outcomes.tasks),
            completion_tokens=macro_means(outcomes.completion_tokens, outcomes.tasks),
        )


def choose(train: OutcomeMatrix, test: OutcomeMatrix) -> npt.NDArray[np.int64]:
    """(n_test,) the column of the best candidate on train; of equals the first."""
    best = int(np.argmax(BestSingle().fit(train, seed=0).reward))
    return np.full(len(test), best, dtype=np.int64)

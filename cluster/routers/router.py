"""The one question every router answers, and the interface it is asked through.

    For each query and candidate: expected reward and expected completion tokens.

What to do with the answer is a policy (`cluster.policies`), chosen at routing time. So prices and
budgets change without retraining.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from cluster.encoders.encoder import Vectors
from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import require_rewards
from cluster.state import State, Tensors

__all__ = ["Method", "Prediction", "Router", "RouterState", "Tensors"]


@dataclass(frozen=True)
class Prediction:
    """What a router expects of every candidate.

    Attributes:
        reward: (n_queries, n_candidates), in the reward's own unit.
        completion_tokens: (n_queries, n_candidates), tokens; NaN where never seen.
    """

    reward: npt.NDArray[np.float64]
    completion_tokens: npt.NDArray[np.float64]


RouterState = State


class Router(ABC):
    """A fitted router.

    Attributes:
        method: name of the method that fitted it.
        candidates: names, the order of every column.
        reads_answer_of: the candidate that has answered before this router decides, for the
            routers that read its answer (`predict_after`); empty for all others.
    """

    method: ClassVar[str]
    candidates: tuple[str, ...]
    reads_answer_of: str = ""

    @abstractmethod
    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""

    def predict_after(self, texts: pl.Series, answers: pl.Series) -> Prediction:  # noqa: ARG002
        """As `predict`, with the answers of `reads_answer_of` at hand: (n_queries,), null for none.

        What the router decides is then whether that answer is good enough.
        """
        assert not self.reads_answer_of, f"{self.method} reads an answer and does not say how"
        return self.predict(texts)

    def embed(self, texts: pl.Series) -> Vectors | None:  # noqa: ARG002 - none by default
        """(n_queries, d): where the method's own representation puts the queries, if it has one.

        What a picture of learned embeddings shows.
        """
        return None

    def adding(
        self,
        candidate: str,  # noqa: ARG002 - for the methods that can
        *,
        probe: OutcomeMatrix,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> "Router":
        """This router with one more candidate in the last column, learned from a few queries.

        Asked for through `cluster.routers.newcomer.with_candidate`, which checks the probe.

        Args:
            candidate: its name.
            probe: outcomes on a few queries, every one with a reward of the candidate.
            seed: of everything random.

        Raises:
            InputError: the method has to be trained anew for that.
        """
        raise InputError(
            f"method {self.method} cannot take up a candidate without retraining; train it on "
            "outcomes that have the candidate"
        )

    @abstractmethod
    def state(self) -> RouterState:
        """What a checkpoint must keep."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`: equal predictions, bit for bit."""


class Method(BaseModel, ABC):
    """The settings of a method, and how it is fitted. One subclass a method.

    A subclass is registered as an entry point of the group `signalbox.routers` under its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    router: ClassVar[type[Router]]
    needs_answers: ClassVar[bool] = False

    @abstractmethod
    def fit(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE) -> Router:
        """Fit on every row of `outcomes`; rows where a candidate is missing are masked, not 0."""

    def check(
        self,
        outcomes: OutcomeMatrix,
        *,
        validation: OutcomeMatrix,  # noqa: ARG002 - for the methods that stop by it
    ) -> None:
        """Refuse, at a glance, outcomes that this method cannot be fitted on.

        Asked of all methods of a run before the first is fitted, so that nobody waits for one to be
        told of another. It loads no model and looks at no text; what it passes may still fail.

        Args:
            outcomes: what would be fitted on.
            validation: what training would be stopped by; may be empty.

        Raises:
            InputError: they will not do.
        """
        require_rewards(outcomes)

    def answer_read(self, outcomes: OutcomeMatrix) -> str:  # noqa: ARG002 - of nobody by default
        """The candidate whose answer a router fitted on `outcomes` would read, or nothing.

        Raises:
            InputError: there is no such candidate.
        """
        return ""

    @classmethod
    def fit_each(
        cls,
        settings: "Sequence[Method]",
        *,
        outcomes: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> list[Router]:
        """Fit each of the settings; a method may override it to share work between them."""
        return [method.fit(outcomes, seed=seed, context=context) for method in settings]

    @classmethod
    def grid(cls) -> list[Self]:
        """Settings to choose among on validation, the simplest (most shrunk) first."""
        return [cls()]

"""The one question every router answers, and the interface it is asked through.

    For each query and candidate: expected reward and expected completion tokens.

What to do with the answer is a policy (`cluster.policy`), chosen at routing time. So prices and
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
from cluster.outcome import OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
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
    """A fitted router."""

    method: ClassVar[str]
    candidates: tuple[str, ...]

    @abstractmethod
    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""

    def embed(self, texts: pl.Series) -> Vectors | None:  # noqa: ARG002 - none by default
        """(n_queries, d): where the method's own representation puts the queries, if it has one.

        What a picture of learned embeddings shows.
        """
        return None

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

    @abstractmethod
    def fit(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE) -> Router:
        """Fit on every row of `outcomes`; rows where a candidate is missing are masked, not 0."""

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

"""A baseline that sees nothing of a query but how long it is.

    reward(q, c) = intercept_c + slope_c * log(1 + characters of q)

One least-squares line a candidate, so the expected gain of one candidate over another is monotone
in the length. On RouteLLM's data (arXiv 2406.18665) this alone has an APGR of .586 on MMLU and .598
on GSM8K, beside .603 and .622 for the paper's best routers: what reads the text must beat it.
"""

from typing import ClassVar, Self

import numpy as np
import polars as pl

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import column_means, macro_means, require_rewards
from cluster.routers.router import Method, Prediction, Router, RouterState
from cluster.routers.surface import log_length


class PromptLengthRouter(Router):
    """A fitted `PromptLength`."""

    method: ClassVar[str] = "prompt_length"

    def __init__(
        self, candidates: tuple[str, ...], *, lines: FloatMatrix, completion_tokens: FloatMatrix
    ) -> None:
        """`lines`: (2, n_candidates), intercept and slope; `completion_tokens`: (n_candidates,)."""
        self.candidates = candidates
        self.lines = lines
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        reward = self.lines[0] + log_length(texts)[:, None] * self.lines[1]
        return Prediction(reward, np.tile(self.completion_tokens, (len(texts), 1)))

    def state(self) -> RouterState:
        """The lines and the token means."""
        return RouterState({}, {"lines": self.lines, "completion_tokens": self.completion_tokens})

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the lines do not fit the candidates.
        """
        return cls(
            candidates,
            lines=state.tensor("lines", shape=(2, len(candidates))),
            completion_tokens=state.tensor("completion_tokens", shape=(len(candidates),)),
        )


class PromptLength(Method):
    """Prompt length has no settings."""

    name: ClassVar[str] = "prompt_length"
    router: ClassVar[type[Router]] = PromptLengthRouter

    def fit(
        self,
        outcomes: OutcomeMatrix,
        *,
        seed: int,  # noqa: ARG002 - least squares leaves nothing to chance
        context: FitContext = ALONE,  # noqa: ARG002 - two sums a candidate
    ) -> PromptLengthRouter:
        """One line a candidate, through the queries where its reward is known.

        Raises:
            InputError: no rows, or a candidate without a reward.
        """
        require_rewards(outcomes)
        return PromptLengthRouter(
            outcomes.candidates,
            lines=least_squares(log_length(outcomes.texts), outcomes.reward),
            completion_tokens=macro_means(outcomes.completion_tokens, outcomes.tasks),
        )


def least_squares(x: FloatMatrix, values: FloatMatrix) -> FloatMatrix:
    """(2, n_columns): intercept and slope of each column of `values` on `x`, over known cells.

    Where all lengths are the same the slope is 0.
    """
    spread_out = np.where(np.isnan(values), np.nan, x[:, None])
    centre = column_means(spread_out)
    mean = column_means(values)
    away = spread_out - centre
    variance = column_means(away**2)
    covariance = column_means(away * (values - mean))
    slope = np.divide(covariance, variance, out=np.zeros_like(mean), where=variance > 1e-12)
    return np.stack([mean - slope * centre, slope])

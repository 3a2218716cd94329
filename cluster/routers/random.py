"""The baseline that knows nothing: a candidate by lot.

Expected rewards are uniform draws in [0, 1), a stable hash of the seed and the query's text. So
every policy (best quality, quality against cost, a threshold) makes its random choice from them,
the same text is always routed alike, and nothing depends on the order or batching of the rows.
"""

import hashlib
from typing import ClassVar, Self

import numpy as np
import polars as pl

from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.router import Method, Prediction, Router, RouterState

BITS = 53


class RandomRouter(Router):
    """A fitted `Random`."""

    method: ClassVar[str] = "random"

    def __init__(
        self, candidates: tuple[str, ...], *, seed: int, completion_tokens: FloatMatrix
    ) -> None:
        """`completion_tokens`: (n_candidates,), macro means over tasks."""
        self.candidates = candidates
        self.seed = seed
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Random rewards and expected completion tokens, each (n_queries, n_candidates)."""
        reward = draws(texts, seed=self.seed, n_columns=len(self.candidates))
        return Prediction(reward, np.tile(self.completion_tokens, (len(texts), 1)))

    def state(self) -> RouterState:
        """The seed and the token means."""
        return RouterState({"seed": self.seed}, {"completion_tokens": self.completion_tokens})

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the seed is missing or the means do not fit the candidates.
        """
        tokens = state.tensor("completion_tokens", shape=(len(candidates),))
        return cls(candidates, seed=state.value("seed", int), completion_tokens=tokens)


class Random(Method):
    """Random has no settings; its draws differ by seed."""

    name: ClassVar[str] = "random"
    router: ClassVar[type[Router]] = RandomRouter

    def fit(
        self,
        outcomes: OutcomeMatrix,
        *,
        seed: int,
        context: FitContext = ALONE,  # noqa: ARG002 - nothing to do but count
    ) -> RandomRouter:
        """Keep the seed and the mean tokens.

        Raises:
            InputError: no rows, or a candidate without a reward.
        """
        require_rewards(outcomes)
        tokens = macro_means(outcomes.completion_tokens, outcomes.tasks)
        return RandomRouter(outcomes.candidates, seed=seed, completion_tokens=tokens)


def draws(texts: pl.Series, *, seed: int, n_columns: int) -> FloatMatrix:
    """(n, n_columns) uniform in [0, 1): 53 bits each of SHAKE-128 over seed and text."""
    salt = f"{seed}\n".encode()
    packed = b"".join(
        hashlib.shake_128(salt + (text or "").encode()).digest(8 * n_columns) for text in texts
    )
    bits = np.frombuffer(packed, dtype="<u8").reshape(len(texts), n_columns)
    uniform: FloatMatrix = (bits >> np.uint64(64 - BITS)).astype(np.float64) / 2**BITS
    return uniform

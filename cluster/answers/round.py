"""One round of a cascade: which answers will do, and who is asked next where they will not."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from cluster.answers.blocks import block, required_block
from cluster.answers.requests import addressed
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.cascade import NOBODY, Cascade
from cluster.policies.policy import Choices, Scored, text_numbers
from cluster.routers.router import Prediction, Router

Judge = Callable[[pl.DataFrame], FloatMatrix]
"""What is expected of everybody, (n_requests, n_candidates), now that the answers to requests (as
`Answered.calls` has them, with `query`) are there; NaN in the column of whom nothing is known."""


@dataclass(frozen=True)
class Judged:
    """Requests of a round with what is expected now.

    Attributes:
        calls: the requests with their answers.
        scored: what the policy sees of them.
    """

    calls: pl.DataFrame
    scored: Scored

    @property
    def columns(self) -> Choices:
        """(n_requests,) who has answered."""
        return self.calls["column"].to_numpy().astype(np.int64)

    @property
    def has_answer(self) -> BoolMatrix:
        """(n_requests,) whether the request did not fail."""
        answered: BoolMatrix = (self.calls["outcome"] != "error").to_numpy()
        return answered

    @property
    def to_cut(self) -> Scored:
        """What a share is settled on: requests that failed go on beside it."""
        kept = self.has_answer
        return judged(self.calls.filter(kept), reward=self.scored.prediction.reward[kept]).scored


def judged(calls: pl.DataFrame, *, reward: FloatMatrix) -> Judged:
    """Requests with the rewards that are expected of everybody now, (n_requests, n_candidates)."""
    prediction = Prediction(reward, required_block(calls, "tokens"))
    numbers, cost = text_numbers(calls["query"]), required_block(calls, "cost")
    return Judged(calls, Scored(prediction, numbers, cost, block(calls, "allowed")))


def escalated(one: Judged, *, policy: Cascade, ids: list[str]) -> pl.DataFrame:
    """The requests of the next round, to whom they go in `column` and `candidate_id`.

    Args:
        one: the round's requests.
        policy: settled.
        ids: the candidates' ids, the order of the columns.
    """
    scored, columns, texts = one.scored, one.columns, one.calls["query"]
    prediction = scored.prediction
    # Where there is no answer, there is none to accept.
    good = policy.accepts(prediction, columns=columns, texts=texts) & one.has_answer
    # Whom nothing is known of may still be asked: what was expected before counts for that.
    known = replace(prediction, reward=required_block(one.calls, "reward"))
    after = policy.following(known, columns=columns, cost=scored.cost, allowed=scored.allowed)
    goes_on = ~good & (after != NOBODY)
    asked = one.calls.with_columns(column=pl.Series(after, dtype=pl.Int32))
    return addressed(asked.filter(goes_on), ids=ids)


def read_after(router: Router) -> Judge:
    """By a router that reads the answer of one candidate; what others have said is taken as is."""
    column = router.candidates.index(router.reads_answer_of)

    def expected(calls: pl.DataFrame) -> FloatMatrix:
        reward: FloatMatrix = required_block(calls, "reward").copy()
        mine = ((calls["column"] == column) & (calls["outcome"] != "error")).to_numpy()
        if mine.any():
            own = calls.filter(pl.Series(mine))
            reward[mine] = router.predict_after(own["query"], own["text"]).reward
        return reward

    return expected


def verified(values: pl.Series, *, calls: pl.DataFrame) -> FloatMatrix:
    """(n_requests, n_candidates) a verifier's rewards in the columns of those who answered; an
    answer that has none will not do."""
    reward: FloatMatrix = required_block(calls, "reward").copy()
    rows = np.arange(len(values))
    reward[rows, calls["column"].to_numpy()] = values.fill_null(-np.inf).to_numpy()
    return reward

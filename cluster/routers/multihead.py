"""Every candidate's chance of being right, from one representation of the query.

    reward(q, c) = sigmoid( u_c · P(q) + b_c )

trained with soft binary cross-entropy on every known cell, so that missing cells cost nothing and
a tie teaches both candidates. Candidates are low-rank vectors u_c, so few rows can place a new one.
The loss is in `cluster.training.multihead`.
"""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from cluster.encoders.encoder import Vectors
from cluster.errors import InputError
from cluster.normalisation import TO_UNIT
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.network import NetworkMethod, NetworkRouter
from cluster.routers.newcomer.vectors import add_to_multihead
from cluster.routers.router import Router
from cluster.training.examples import Arrays


class MultiheadRouter(NetworkRouter):
    """A fitted `Multihead`."""

    method: ClassVar[str] = "multihead"

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> NetworkRouter:  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_multihead(self, candidate, probe=probe)


class Multihead(NetworkMethod):
    """Settings of the multi-head router.

    Attributes:
        rank: dimensions of the candidates' vectors.
        ranking_weight: weight of the ranking term, which holds candidates against each other.
    """

    name: ClassVar[str] = "multihead"
    router: ClassVar[type[Router]] = MultiheadRouter
    scores_are_rewards: ClassVar[bool] = True

    rank: int = Field(default=8, ge=1)
    ranking_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`.

        Raises:
            InputError: no rows, a candidate without a reward, or a reward not between 0 and 1.
        """
        super().check(outcomes, validation=validation)
        require_unit_rewards(outcomes, validation)

    @classmethod
    def grid(cls) -> list[Self]:
        """Without and with the ranking term."""
        return [cls(), cls(ranking_weight=0.3), cls(ranking_weight=1.0)]

    def network(self, *, n_candidates: int, dimensions: int) -> object:
        """See `cluster.training.multihead`."""
        from cluster.training.multihead import MultiheadNetwork

        return MultiheadNetwork(
            n_candidates=n_candidates,
            dimensions=dimensions,
            hidden=self.hidden,
            dropout=self.dropout,
            rank=self.rank,
            ranking_weight=self.ranking_weight,
        )

    def labels(
        self,
        train: OutcomeMatrix,
        validation: OutcomeMatrix,
        *,
        vectors: tuple[Vectors, Vectors],  # noqa: ARG002 - rewards say it all
        seed: int,  # noqa: ARG002 - nothing is left to chance
    ) -> tuple[Arrays, Arrays]:
        """Rewards, what is known of them, and how much that is on the training rows.

        Raises:
            InputError: a reward is not between 0 and 1.
        """
        a_row = {
            "cells_a_row": float(train.mask.sum(axis=1).mean()),
            "pairs_a_row": float(pair_gaps(train.reward).mean()),
        }

        def of(rows: OutcomeMatrix) -> Arrays:
            means = {k: np.full(len(rows), v or 1.0, np.float32) for k, v in a_row.items()}
            return reward_labels(rows) | means

        return of(train), of(validation)


def pair_gaps(reward: FloatMatrix) -> FloatMatrix:
    """(n_queries,): sum over pairs of a row's known candidates of how differently they did.

    Of k values x in rising order that is the sum over j of (2j − k + 1) x_j.
    """
    known = (~np.isnan(reward)).sum(axis=1, keepdims=True)
    place = 2 * np.arange(reward.shape[1]) - known + 1
    gaps: FloatMatrix = np.nansum(place * np.sort(reward, axis=1), axis=1)
    return gaps


def require_unit_rewards(*parts: OutcomeMatrix) -> None:
    """Refuse rewards that are not between 0 and 1.

    Raises:
        InputError: names the first.
    """
    for outcomes in parts:
        outside = (outcomes.reward < 0) | (outcomes.reward > 1)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise InputError(
                f"query '{outcomes.queries['query_id'][int(row)]}', candidate "
                f"'{outcomes.candidates[column]}': reward {outcomes.reward[row, column]:g}, "
                f"expected 0 to 1; use {TO_UNIT}"
            )


def reward_labels(outcomes: OutcomeMatrix) -> Arrays:
    """`reward` (0 where missing) and `known`, each (n, n_candidates) float32.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    require_unit_rewards(outcomes)
    return {
        "reward": np.nan_to_num(outcomes.reward).astype(np.float32),
        "known": outcomes.mask.astype(np.float32),
    }

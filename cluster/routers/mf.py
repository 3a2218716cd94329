"""Matrix factorisation: candidates and queries in one space, learned from preferences.

    delta(M, q) = w2ᵀ( v_M ⊙ (W1ᵀ v_q + b) ),   P(a beats b) = sigmoid(delta(a, q) − delta(b, q))

RouteLLM (ICLR 2025, arXiv 2406.18665), section 4.2.2. Binary cross-entropy on comparisons, ties as
half wins; model vectors have norm 1, and the paper's bias b is kept, which the authors' code leaves
out: with two candidates all of this is logistic regression, and without b it has no intercept. The
loss is in `cluster.training.mf`. The checkpoint kept is that of the least loss on validation:
between a strong and a weak candidate the highest score is the strong one's nearly everywhere, and
what is earned by it says nothing of the order of the queries.
"""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from cluster.encoders.encoder import Vectors
from cluster.outcome import OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.gradient import Trained
from cluster.routers.multihead import require_unit_rewards, reward_labels
from cluster.routers.network import NetworkMethod, NetworkRouter
from cluster.routers.newcomer.vectors import add_to_mf
from cluster.routers.pairs import ComparisonMethod, compare
from cluster.routers.router import Router
from cluster.routers.strong_weak import on_candidates
from cluster.routers.tier_pair import paired_rows
from cluster.training.examples import Arrays


class MatrixFactorisationRouter(NetworkRouter):
    """A fitted `MatrixFactorisation`."""

    method: ClassVar[str] = "mf"

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> NetworkRouter:  # noqa: ARG002
        """See `Router.adding`; nothing is left to chance."""
        return add_to_mf(self, candidate, probe=probe)


class MatrixFactorisation(ComparisonMethod, NetworkMethod):
    """Settings of matrix factorisation.

    The paper trains about 10 epochs at a learning rate of 3e-4 on 65,000 battles, 10,000 steps. Of
    some thousand queries that is 800, and they end too early: cross-entropy on LLMRouter's
    validation rows .647, with these settings .638, after 19 epochs.

    Attributes:
        hidden: dimensions of the common space.
        noise: standard deviation of what is added in training to every number of a query's
            vector, which has norm 1.
        dropout: share of the space's dimensions dropped in training.
    """

    name: ClassVar[str] = "mf"
    router: ClassVar[type[Router]] = MatrixFactorisationRouter

    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    noise: float = Field(default=0.1, ge=0, allow_inf_nan=False)

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`.

        Raises:
            InputError: no rows, no such pair, nothing to compare, or a reward not between 0 and 1.
        """
        super().check(outcomes, validation=validation)
        columns = self.columns(outcomes)
        require_unit_rewards(*(on_candidates(rows, columns) for rows in (outcomes, validation)))

    @classmethod
    def grid(cls) -> list[Self]:
        """With noise as published, and with less and less of it."""
        return [cls(), cls(noise=0.03), cls(noise=0.0)]

    def network(self, *, n_candidates: int, dimensions: int) -> object:
        """See `cluster.training.mf`."""
        from cluster.training.mf import MatrixFactorisationNetwork

        return MatrixFactorisationNetwork(
            n_candidates=n_candidates,
            dimensions=dimensions,
            hidden=self.hidden,
            dropout=self.dropout,
            noise=self.noise,
        )

    def train(
        self,
        outcomes: OutcomeMatrix,
        *,
        validation: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> Trained:
        """See `NetworkMethod.train`; of a pair, on the pair alone.

        Raises:
            InputError: as there, or no such pair, or no query with rewards of two candidates.
        """
        outcomes, validation = paired_rows(self, outcomes, validation)
        columns = self.columns(outcomes)
        return super().train(
            on_candidates(outcomes, columns),
            validation=on_candidates(validation, columns),
            seed=seed,
            context=context,
        )

    def labels(
        self,
        train: OutcomeMatrix,
        validation: OutcomeMatrix,
        *,
        vectors: tuple[Vectors, Vectors],  # noqa: ARG002 - rewards say it all
        seed: int,  # noqa: ARG002 - nothing is left to chance
    ) -> tuple[Arrays, Arrays]:
        """Rewards, what is known of them, and how many pairs that is a training row.

        Raises:
            InputError: a reward is not between 0 and 1, or no query has rewards of two candidates.
        """
        a_row = len(compare(train)) / max(len(train), 1) or 1.0

        def of(rows: OutcomeMatrix) -> Arrays:
            return reward_labels(rows) | {"pairs_a_row": np.full(len(rows), a_row, np.float32)}

        return of(train), of(validation)

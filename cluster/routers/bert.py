"""RouteLLM's BERT classifier: how likely the strong candidate wins, from the first token's state.

    P(strong wins | q) = sigmoid(w · h(q) + b),   target = (1 + s − w) / 2

with s and w the rewards of the pair, so that a tie is half a win (the authors' code has a third
class for ties). RouteLLM (ICLR 2025, arXiv 2406.18665), section 4.2.3. The network is in
`cluster.training.bert`.

As published, a pretrained encoder is tuned and its first token is read. Frozen, or on the lexical
encoder, it is a small classifier on the encoder's vectors as they are.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from cluster.encoders.encoder import Encoder, Vectors
from cluster.encoders.huggingface import HuggingFaceEncoder
from cluster.outcome import OutcomeMatrix
from cluster.plugins import load_plugin
from cluster.routers.context import ALONE, FitContext
from cluster.routers.gradient import Trained
from cluster.routers.network import NetworkMethod, NetworkRouter
from cluster.routers.pairs import ComparisonMethod, compare, require_comparable
from cluster.routers.router import Router
from cluster.routers.tier_pair import paired_rows
from cluster.routers.wins import checked_pair_rows, pair_rows
from cluster.training.examples import Arrays


class BertRouter(NetworkRouter):
    """A fitted `Bert`."""

    method: ClassVar[str] = "bert"


class Bert(ComparisonMethod, NetworkMethod):
    """Settings of the BERT classifier; those of training are the paper's.

    Attributes:
        tune: None tunes a pretrained encoder, and leaves any other as it is.
        tuned_learning_rate: of the encoder's weights.
        learning_rate: of the classifier on top.
    """

    name: ClassVar[str] = "bert"
    router: ClassVar[type[Router]] = BertRouter

    batch_size: int = Field(default=16, ge=1)
    micro_batch: int = Field(default=16, ge=1)
    tuned_learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)

    @property
    def is_tuned(self) -> bool:
        """Whether the encoder's weights are trained."""
        if self.tune is not None:
            return self.tune
        kind = load_plugin("encoders", name=self.encoder)
        return isinstance(kind, type) and issubclass(kind, HuggingFaceEncoder)

    def wanted_encoder(self) -> Encoder:
        """The encoder as set; tuned, its first token is read where nothing else is said."""
        encoder = super().wanted_encoder()
        if self.is_tuned and isinstance(encoder, HuggingFaceEncoder) and encoder.pooling is None:
            return encoder.model_copy(update={"pooling": "cls"})
        return encoder

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`.

        Raises:
            InputError: no such pair, no query with both rewards, or rewards further apart than 1.
        """
        self.wanted_encoder()
        for rows in checked_pair_rows(outcomes, validation, strong=self.strong, weak=self.weak):
            require_comparable(rows)

    def network(self, *, n_candidates: int, dimensions: int) -> object:
        """See `cluster.training.bert`."""
        from cluster.training.bert import BertNetwork

        assert n_candidates == 2, "a pair"
        return BertNetwork(dimensions=dimensions, hidden=self.hidden, dropout=self.dropout)

    def train(
        self,
        outcomes: OutcomeMatrix,
        *,
        validation: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> Trained:
        """See `NetworkMethod.train`; on the queries for which both rewards are known.

        Raises:
            InputError: as there, or no such pair, or no query with both rewards.
        """
        outcomes, validation = paired_rows(self, outcomes, validation)
        rows, judges = pair_rows(outcomes, validation, strong=self.strong, weak=self.weak)
        return super().train(rows, validation=judges, seed=seed, context=context)

    def labels(
        self,
        train: OutcomeMatrix,
        validation: OutcomeMatrix,
        *,
        vectors: tuple[Vectors, Vectors],  # noqa: ARG002 - rewards say it all
        seed: int,  # noqa: ARG002 - nothing is left to chance
    ) -> tuple[Arrays, Arrays]:
        """How far the strong candidate won.

        Raises:
            InputError: two rewards of a query differ by more than 1.
        """
        wins = [compare(rows).target.astype(np.float32) for rows in (train, validation)]
        return {"win": wins[0]}, {"win": wins[1]}

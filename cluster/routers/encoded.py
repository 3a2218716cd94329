"""What the methods that learn from vectors share: the encoder, fitted once for a whole grid."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import Encoder, FittedEncoder, Vectors, load_encoder
from cluster.encoders.memory import RememberedEncoder
from cluster.outcome import OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import require_rewards
from cluster.routers.router import Method, Router


class EncodedMethod(Method):
    """A method on the vectors of an encoder.

    Attributes:
        encoder: name of an installed encoder.
        encoder_settings: its settings, where they are not its defaults.
    """

    encoder: str = "lexical"
    encoder_settings: dict[str, Any] = Field(default_factory=dict)

    @abstractmethod
    def fit_vectors(
        self, outcomes: OutcomeMatrix, *, vectors: Vectors, encoder: FittedEncoder, seed: int
    ) -> Router:
        """Fit on the queries' vectors, (n_queries, d)."""

    def fit(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE) -> Router:
        """Fit on every row; missing rewards are masked.

        Raises:
            InputError: no rows, or a candidate without a reward.
        """
        return self.fit_each([self], outcomes=outcomes, seed=seed, context=context)[0]

    @classmethod
    def fit_each(
        cls,
        settings: Sequence[Method],
        *,
        outcomes: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> list[Router]:
        """Fit each of the settings, the encoder only once for those that share it."""
        require_rewards(outcomes)
        encoders: dict[str, tuple[FittedEncoder, Vectors]] = {}
        routers = []
        for method in settings:
            assert isinstance(method, EncodedMethod), f"{method.name} has no encoder"
            wanted = load_encoder(method.encoder, **method.encoder_settings)
            if wanted.spec_id not in encoders:
                fitted = fit_encoder(wanted, outcomes=outcomes, seed=seed, context=context)
                encoders[wanted.spec_id] = (fitted, fitted.encode(outcomes.texts))
            encoder, vectors = encoders[wanted.spec_id]
            with one_blas_thread():
                routers.append(
                    method.fit_vectors(outcomes, vectors=vectors, encoder=encoder, seed=seed)
                )
        return routers


def fit_encoder(
    encoder: Encoder, *, outcomes: OutcomeMatrix, seed: int, context: FitContext
) -> FittedEncoder:
    """The encoder fitted on the queries' texts; what a slow one says is remembered."""
    fitted = encoder.fit(outcomes.texts, seed=seed)
    return RememberedEncoder(fitted, context.memory) if encoder.is_slow else fitted

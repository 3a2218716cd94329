"""The highest expected reward."""

from typing import ClassVar

import polars as pl

from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices, Policy, highest
from cluster.routers.router import Prediction


class Best(Policy):
    """The highest expected reward, whatever it costs."""

    name: ClassVar[str] = "best"

    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,  # noqa: ARG002 - quality alone decides
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """The column with the highest reward; see `Policy.choose`."""
        return highest(prediction.reward, texts=texts, allowed=allowed)

"""Reward against money at a price that the user names."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices, Policy, highest
from cluster.routers.router import Prediction


class Utility(Policy):
    """The highest expected reward − lambda · expected cost.

    Attributes:
        lambda_usd: reward a query must gain for one more USD spent on it (reward per USD); 0 is
            `Best`. A candidate whose cost is unknown is not chosen when it is above 0.
    """

    name: ClassVar[str] = "utility"

    lambda_usd: float = Field(ge=0, allow_inf_nan=False)

    @property
    def needs_cost(self) -> bool:
        """Where money counts at all."""
        return self.lambda_usd > 0

    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """The column with the highest reward − lambda · cost; see `Policy.choose`."""
        if self.lambda_usd == 0:
            return highest(prediction.reward, texts=texts, allowed=allowed)
        if cost is None:
            raise InputError("policy 'utility' needs the candidates' prices; none were given")
        value = prediction.reward - self.lambda_usd * cost
        return highest(value, texts=texts, allowed=allowed)

"""What to do with a prediction: which candidate answers each query.

A policy is chosen at routing time, so prices and wishes change without retraining. Ours and their
settings are in `POLICIES`; a new one is a subclass of `Policy` and an entry there.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.routers.router import Prediction

Choices = npt.NDArray[np.int64]


class Policy(BaseModel, ABC):
    """A policy; the fields of a subclass are its settings.

    Attributes:
        name: what it is asked for by.
        needs_cost: whether it reads the cost matrix; where it does not, cost may be None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    needs_cost: ClassVar[bool] = False

    @abstractmethod
    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """(n_queries,) the column of the candidate that answers each query.

        Args:
            prediction: of the router, (n_queries, n_candidates).
            texts: (n_queries,); a text's hash decides between candidates of exactly equal value,
                so a choice depends on no other row and not on the row's position.
            cost: (n_queries, n_candidates), expected USD; NaN where unknown.
            allowed: (n_candidates,), False for candidates that may not be chosen.

        Raises:
            InputError: a query without any candidate to choose, or no cost where one is needed.
        """


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


class Utility(Policy):
    """The highest expected reward − lambda · expected cost.

    Attributes:
        lambda_usd: reward a query must gain for one more USD spent on it (reward per USD); 0 is
            `Best`. A candidate whose cost is unknown is not chosen when it is above 0.
    """

    name: ClassVar[str] = "utility"
    needs_cost: ClassVar[bool] = True

    lambda_usd: float = Field(ge=0, allow_inf_nan=False)

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


POLICIES: Mapping[str, type[Policy]] = {policy.name: policy for policy in (Best, Utility)}


def load_policy(name: str, *, settings: Mapping[str, Any] | None = None) -> Policy:
    """Make the policy `name` with its settings.

    Raises:
        InputError: the name is unknown, or a setting is unknown, missing or out of range.
    """
    if name not in POLICIES:
        raise InputError(f"policy '{name}' is not known; known: {', '.join(sorted(POLICIES))}")
    try:
        return POLICIES[name](**(settings or {}))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        known = ", ".join(POLICIES[name].model_fields) or "none"
        raise InputError(f"policy '{name}': {faults}; its settings: {known}") from error


def highest(values: FloatMatrix, *, texts: pl.Series, allowed: BoolMatrix | None = None) -> Choices:
    """(n,) the column of each row's highest value, among those that are known and allowed.

    Between exactly equal values the text's hash decides, evenly over many texts.

    Raises:
        InputError: a row without any known value of an allowed candidate.
    """
    usable = ~np.isnan(values)
    if allowed is not None:
        usable &= allowed
    hopeless = np.flatnonzero(~usable.any(axis=1))
    if len(hopeless):
        raise InputError(
            f"query {hopeless[0]} of {len(values)} has no candidate to choose: none that is "
            "allowed has a known value; check the allowed candidates, and their prices and tokens"
        )
    best = np.where(usable, values, -np.inf).max(axis=1, initial=-np.inf)
    tied = usable & (values == best[:, None])
    choices: Choices = tied.argmax(axis=1).astype(np.int64)
    for row in np.flatnonzero(tied.sum(axis=1) > 1):
        columns = np.flatnonzero(tied[row])
        choices[row] = columns[text_number(texts[int(row)]) % len(columns)]
    return choices


def text_number(text: str) -> int:
    """A 64-bit number from a text alone; salted, so that it is unrelated to the text's split."""
    return int.from_bytes(hashlib.sha256(f"tie\n{text}".encode()).digest()[:8], "big")

"""What to do with a prediction: which candidate answers each query.

A policy is chosen at routing time, so prices and wishes change without retraining. Most decide row
by row. Those that promise something about the whole file (`needs_file`) first see the predictions
of all its rows, as often as they like, and turn into one that decides row by row.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from cluster.drift.counts import DriftCounts
from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.routers.router import Prediction

Choices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Scored:
    """What a router expects of some rows of a file, without their texts.

    Attributes:
        prediction: (n_queries, n_candidates).
        numbers: (n_queries,) the texts' `text_numbers`; they split rows of equal value.
        cost: (n_queries, n_candidates), expected USD, NaN where unknown; None without prices.
        allowed: (n_candidates,) or (n_queries, n_candidates), False for candidates that may not
            be chosen; None where all may.
    """

    prediction: Prediction
    numbers: Numbers
    cost: FloatMatrix | None = None
    allowed: BoolMatrix | None = None


Passes = Callable[[], Iterable[Scored]]


class Policy(BaseModel, ABC):
    """A policy; the fields of a subclass are its settings.

    Attributes:
        name: what it is asked for by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]

    @property
    def needs_cost(self) -> bool:
        """Whether it reads the cost matrix with these settings; if not, cost may be None."""
        return False

    @property
    def needs_file(self) -> bool:
        """Whether it must be settled on the whole file before it can choose."""
        return False

    @property
    def calibrated_like(self) -> DriftCounts | None:
        """Where the rows lie that its promise rests on; None where it promises nothing."""
        return None

    def among(self, candidates: tuple[str, ...]) -> Self:  # noqa: ARG002 - most read no name
        """This policy for a router's candidates, in the order of its columns.

        A policy whose settings name candidates finds their columns here.

        Raises:
            InputError: a candidate that it names is not there.
        """
        return self

    def heeding(self, drift: str | None) -> Self:  # noqa: ARG002 - most promise nothing
        """This policy, told before it settles why new queries may not be like those it knows.

        Args:
            drift: in words; None where nothing was found, or nothing is known.

        Raises:
            InputError: it will not choose for such a file.
        """
        return self

    def settle(self, scored: Passes) -> "Policy":  # noqa: ARG002 - row-wise policies need none
        """What decides row by row after a look at the whole file; plain data, as any policy.

        Args:
            scored: each call is one more pass over all rows of the file, in the same order. Memory
                is bounded whatever the file's size.

        Raises:
            InputError: what is asked for cannot be had on this file.
        """
        return self

    def facts(self) -> dict[str, Any]:
        """What a report says of it: its settings, and what it settled on."""
        return self.model_dump(mode="json", exclude_none=True)

    def eligible(self, prediction: Prediction, *, cost: FloatMatrix | None = None) -> BoolMatrix:
        """(n_queries, n_candidates) whom it could choose by what is known of them.

        A query that is left without anyone here makes `choose` fail; a job sets it aside before.
        """
        known: BoolMatrix = ~np.isnan(prediction.reward)
        if self.needs_cost and cost is not None:
            known &= ~np.isnan(cost)
        return known

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
            allowed: (n_candidates,) or (n_queries, n_candidates), False for candidates that may
                not be chosen.

        Raises:
            InputError: a query without any candidate to choose, or no cost where one is needed.
        """


def highest(values: FloatMatrix, *, texts: pl.Series, allowed: BoolMatrix | None = None) -> Choices:
    """(n,) the column of each row's highest value, among those that are known and allowed.

    Between exactly equal values the text's hash decides, evenly over many texts.

    Raises:
        InputError: a row without any known value of an allowed candidate.
    """
    usable = ~np.isnan(values)
    if allowed is not None:
        usable &= allowed
    require_a_choice(usable)
    best = np.where(usable, values, -np.inf).max(axis=1, initial=-np.inf)
    tied = usable & (values == best[:, None])
    choices: Choices = tied.argmax(axis=1).astype(np.int64)
    rows = np.flatnonzero(tied.sum(axis=1) > 1)
    choices[rows] = one_of(tied[rows], numbers=text_numbers(texts[rows]))
    return choices


def require_a_choice(usable: BoolMatrix) -> None:
    """Make sure every row of (n_queries, n_candidates) has somebody to choose.

    Raises:
        InputError: one has not.
    """
    hopeless = np.flatnonzero(~usable.any(axis=1))
    if len(hopeless):
        raise InputError(
            f"query {hopeless[0]} of {len(usable)} has no candidate to choose: none that is "
            "allowed has a known value; check the allowed candidates, and their prices and tokens"
        )


def one_of(among: BoolMatrix, *, numbers: Numbers) -> Choices:
    """(n,) one of the columns that are marked in each row, by its text's number."""
    place = (numbers % among.sum(axis=1).astype(np.uint64)).astype(np.int64)
    choices: Choices = (np.cumsum(among, axis=1) > place[:, None]).argmax(axis=1).astype(np.int64)
    return choices


def text_number(text: str) -> int:
    """A 64-bit number from a text alone; salted, so that it is unrelated to the text's split."""
    return int.from_bytes(hashlib.sha256(f"tie\n{text}".encode()).digest()[:8], "big")


def text_numbers(texts: pl.Series) -> Numbers:
    """(n,) the `text_number` of each text."""
    return np.fromiter((text_number(text) for text in texts), dtype=np.uint64, count=len(texts))

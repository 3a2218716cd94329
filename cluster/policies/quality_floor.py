"""At least a share of a reference's quality, at the least cost that a calibration has certified."""

from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field

from cluster.drift.counts import DriftCounts
from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices, Passes, Policy, highest
from cluster.routers.router import Prediction


class QualityFloor(Policy):
    """The cheapest candidate whose predicted reward is at least the reference's − tau.

    Row by row, so that what was certified on calibration rows is what is done on every other file.
    How tau is found, and what it promises, is in `cluster.guarantee`.

    Attributes:
        floor: share of the reference's mean reward that is to be kept.
        delta: chance that the calibration sample misleads.
        reference: name of the candidate; empty before it is calibrated.
        tau: reward that may be missing by prediction; below 0 it must be gained. None: no saving
            was certified, and everything that may goes to the reference.
        barred: share of the calibration rows that may not go to the reference; the promise is about
            these as well, with or without a tau.
        calibration: the record that says why.
        promise: what may be told of it, in words.
        like: `DriftCounts` of the rows that were calibrated on, on the router's profile: where
            new queries must lie too. None where the router has no profile.
        by_price: names of the candidates, the cheapest first, those of one price together; for rows
            where no candidate's cost is known: routers learned from tables without tokens.
        candidates: in the order of the columns; set by `among`.
        settled: whether the file was looked at, for drift.
    """

    name: ClassVar[str] = "quality_floor"

    floor: float = Field(gt=0, le=1)
    delta: float = Field(default=0.1, gt=0, lt=1)
    reference: str = ""
    tau: float | None = Field(default=None, allow_inf_nan=False)
    barred: float = Field(default=0.0, ge=0, le=1)
    calibration: str = ""
    promise: str = ""
    like: DriftCounts | None = None
    by_price: tuple[tuple[str, ...], ...] = ()
    candidates: tuple[str, ...] = ()
    settled: bool = False

    @property
    def needs_cost(self) -> bool:
        """Where there is anything to choose."""
        return self.tau is not None

    def among(self, candidates: tuple[str, ...]) -> Self:
        """See `Policy.among`.

        Raises:
            InputError: the reference, or one that was ranked by price, is not there.
        """
        ranked = {name for names in self.by_price for name in names}
        named = {self.reference} - {""} | ranked
        if named - set(candidates):
            raise InputError(
                f"policy 'quality_floor': {', '.join(sorted(named - set(candidates)))}: not among "
                f"the router's candidates; these are {', '.join(candidates)}"
            )
        assert not ranked or ranked == set(candidates), "a rank for everyone"
        return self.model_copy(update={"candidates": candidates})

    @property
    def needs_file(self) -> bool:
        """Where something is promised: not for queries unlike those it was calibrated on.

        Before it is calibrated as well: then it can choose nowhere.
        """
        return not self.settled and (self.promises or not self.reference)

    @property
    def promises(self) -> bool:
        """Whether it does anything that had to be certified."""
        return self.tau is not None or self.barred > 0

    @property
    def calibrated_like(self) -> DriftCounts | None:
        """See `Policy.calibrated_like`."""
        return self.like

    def heeding(self, drift: str | None) -> Self:
        """See `Policy.heeding`.

        Raises:
            InputError: there is drift, and a promise that it breaks.
        """
        if drift and self.promises:
            raise InputError(
                f"policy 'quality_floor' does not promise anything for this file: {drift}; collect "
                "some of these queries and calibrate on them, or name another --policy"
            )
        return self

    def settle(self, scored: Passes) -> "QualityFloor":  # noqa: ARG002 - rows decide by themselves
        """See `Policy.settle`; the tau stays the one that was certified."""
        return self.model_copy(update={"settled": True})

    def facts(self) -> dict[str, Any]:
        """See `Policy.facts`."""
        return self.model_dump(
            mode="json",
            exclude_none=True,
            exclude={"barred", "by_price", "candidates", "settled", "like"},
        )

    def eligible(self, prediction: Prediction, *, cost: FloatMatrix | None = None) -> BoolMatrix:  # noqa: ARG002
        """(n_queries, n_candidates): who has a prediction; the reference needs none, and no cost.

        Where the reference may not answer the best does, whatever is known of its cost.
        """
        known: BoolMatrix = ~np.isnan(prediction.reward)
        known[:, self._column()] = True
        return known

    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """The column of the cheapest that is good enough; see `Policy.choose`.

        The reference where nobody is, or where its own cost or reward is not known. Of equally
        cheap ones the best. Where the reference may not be chosen the best that may.
        """
        reward, column = prediction.reward, self._column()
        usable = np.broadcast_to(True if allowed is None else allowed, reward.shape)
        good = usable & self._good_enough(reward, column=column)
        price = self._price(cost, shape=reward.shape)
        known = ~np.isnan(price[:, [column]])
        good = np.where(known, good & ~np.isnan(price), False)
        good[:, column] = usable[:, column]
        cheapest = np.where(good, price, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        tied = good & (~known | (price <= cheapest))
        # What has no other choice needs no value.
        value = np.where(tied, np.where(np.isnan(reward), 0.0, reward), np.nan)
        barred = ~good.any(axis=1)
        value[barred] = np.where(usable[barred], reward[barred], np.nan)
        return highest(value, texts=texts)

    def _column(self) -> int:
        if self.reference not in self.candidates:
            raise InputError(
                "policy 'quality_floor' has no reference yet: it is calibrated by 'signalbox "
                "calibrate' and by 'signalbox route'"
            )
        return self.candidates.index(self.reference)

    def _good_enough(self, reward: FloatMatrix, *, column: int) -> BoolMatrix:
        if self.tau is None:
            return np.zeros(reward.shape, dtype=np.bool_)
        return np.asarray(reward >= reward[:, [column]] - self.tau)

    def _price(self, cost: FloatMatrix | None, *, shape: tuple[int, ...]) -> FloatMatrix:
        """(n_queries, n_candidates) what decides: USD, or the rank by price where none is known."""
        if self.tau is None:
            return np.zeros(shape)
        if cost is None:
            raise InputError("policy 'quality_floor' needs the candidates' prices; none were given")
        if not self.by_price:
            return cost
        return np.where(np.isnan(cost).all(axis=1, keepdims=True), self.ranks(), cost)

    def ranks(self) -> FloatMatrix:
        """(n_candidates,) by price, 0 for the cheapest; all 0 where that was not told."""
        place = {name: rank for rank, names in enumerate(self.by_price) for name in names}
        return np.array([float(place.get(name, 0)) for name in self.candidates])

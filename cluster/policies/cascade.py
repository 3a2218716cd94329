"""The cheapest candidate first, the next one when the first will not do.

FrugalGPT (arXiv 2305.05176, section 3) asks models in the order of their cost and stops at the
first answer that a scorer accepts. There are two forms:

- without answers, `choose` alone: the cheapest candidate whose expected reward is enough;
- with answers, in rounds: `first` says who answers first, `accepts` whether an answer is good
  enough by what is expected after reading it (`Router.predict_after`, or a verifier's rewards in
  its column), and `following` who is asked then.
"""

from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import (
    Choices,
    Policy,
    highest,
    require_a_choice,
    text_numbers,
)
from cluster.policies.steps import Offers
from cluster.policies.threshold import Threshold
from cluster.routers.router import Prediction

NOBODY = -1


class Cascade(Threshold):
    """Settings of a cascade: what is good enough.

    Attributes:
        accept_from: the expected reward from which an answer is accepted; or, for a strong and a
            weak candidate, of which the weak one is asked first:
        strong_share: of the queries that go on to the strong candidate; with answers it is settled
            on what is expected after the weak one has answered; or
        threshold: what the strong candidate must promise more for that.
    """

    name: ClassVar[str] = "cascade"

    accept_from: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> Self:
        given = [self.accept_from, self.strong_share, self.threshold]
        if sum(each is not None for each in given) != 1:
            raise ValueError("give accept_from, strong_share or threshold, one of them")
        return self

    @property
    def needs_cost(self) -> bool:
        """Where candidates are asked in the order of their costs."""
        return self.accept_from is not None

    @property
    def needs_file(self) -> bool:
        """For a share, until it is settled."""
        return self.accept_from is None and super().needs_file

    def among(self, candidates: tuple[str, ...]) -> Self:
        """See `Threshold.among`; any candidates will do where rewards are accepted."""
        return self if self.accept_from is not None else super().among(candidates)

    def eligible(self, prediction: Prediction, *, cost: FloatMatrix | None = None) -> BoolMatrix:
        """See `Policy.eligible`."""
        if self.accept_from is None:
            return super().eligible(prediction, cost=cost)
        return Policy.eligible(self, prediction, cost=cost)

    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """The cheapest that is expected to be accepted, or else the best; see `Policy.choose`."""
        if self.accept_from is None:
            return super().choose(prediction, texts=texts, cost=cost, allowed=allowed)
        usable = self._usable(prediction, cost=cost, allowed=allowed)
        good = usable & (np.nan_to_num(prediction.reward, nan=-np.inf) >= self.accept_from)
        chosen = highest(prediction.reward, texts=texts, allowed=usable)
        rows = np.flatnonzero(good.any(axis=1))
        assert cost is not None, "asked for above"
        numbers = text_numbers(texts[rows])
        chosen[rows] = Offers(prediction.reward[rows], cost[rows], good[rows], numbers).cheapest()
        return chosen

    def first(
        self,
        prediction: Prediction,
        *,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """(n_queries,) who answers first: the cheapest; of a pair the weak one where it may.

        Of candidates that cost the same the one with the lowest column.
        """
        usable = self._usable(prediction, cost=cost, allowed=allowed)
        if self.accept_from is None:
            strong, weak = self.columns
            choices: Choices = np.where(usable[:, weak], weak, strong)
            return choices
        assert cost is not None, "asked for above"
        least: Choices = np.where(usable, cost, np.inf).argmin(axis=1)
        return least

    def accepts(self, prediction: Prediction, *, columns: Choices, texts: pl.Series) -> BoolMatrix:
        """(n_queries,) whether the answers of `columns` are good enough.

        Args:
            prediction: what is expected now that the answers are there, (n_queries, n_candidates).
            columns: (n_queries,) who has answered.
            texts: (n_queries,); decide between exactly equal scores of a pair.
        """
        rows = np.arange(len(columns))
        if self.accept_from is not None:
            accepted: BoolMatrix = prediction.reward[rows, columns] >= self.accept_from
            return accepted
        strong, weak = self.columns
        gain = prediction.reward[:, strong] - prediction.reward[:, weak]
        stays: BoolMatrix = (columns == strong) | ~self._reaches(gain, texts=texts)
        return stays

    def following(
        self,
        prediction: Prediction,
        *,
        columns: Choices,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """(n_queries,) who is asked after `columns`: the next dearer; `NOBODY` after the last."""
        usable = self._usable(prediction, cost=cost, allowed=allowed)
        if self.accept_from is None:
            strong, weak = self.columns
            goes_on = (columns == weak) & usable[:, strong]
            return np.where(goes_on, strong, NOBODY)
        assert cost is not None, "asked for above"
        rows, places = np.arange(len(columns)), np.arange(cost.shape[1])
        own = cost[rows, columns][:, None]
        later = (cost > own) | ((cost == own) & (places > columns[:, None]))
        dearer = np.where(usable & later, cost, np.inf)
        return np.where((usable & later).any(axis=1), dearer.argmin(axis=1), NOBODY)

    def _usable(
        self, prediction: Prediction, *, cost: FloatMatrix | None, allowed: BoolMatrix | None
    ) -> BoolMatrix:
        if self.needs_cost and cost is None:
            raise InputError(
                "policy 'cascade' asks the cheapest candidate first and needs the candidates' "
                "prices; none were given"
            )
        usable = self.eligible(prediction, cost=cost)
        if allowed is not None:
            usable &= allowed
        require_a_choice(usable)
        return usable

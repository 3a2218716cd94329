"""A scorer turns an answer and its reference into a reward."""

from abc import abstractmethod
from typing import Any, ClassVar

import polars as pl

from cluster.plugins import Kind
from cluster.spec import IdentifiedSpec


class Scorer(IdentifiedSpec):
    """Settings of a reward, and how it is computed. One subclass a reward.

    A subclass is registered as an entry point of the group `signalbox.scorers` under its name.
    """

    kind: ClassVar[str] = "scorer"
    plugins: ClassVar[Kind] = "scorers"

    @property
    def scorer_id(self) -> str:
        """Identity of the rewards it gives: the hash of its spec."""
        return self.spec_id

    @abstractmethod
    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Reward of every answer: Float64 in [0, 1], (n_answers,).

        Args:
            answers: `query` (str), `text` (the candidate's answer, str) and `reference`
                (str, nullable), one row an answer.

        Returns:
            The rewards in the rows' order; null where the reward does not apply: without a
            reference it can use, or without an answer (an error is missing, never 0).
        """


def load_scorer(name: str, /, **settings: Any) -> Scorer:
    """The scorer of that name with its settings.

    Raises:
        InputError: the name is not installed, or a setting is unknown or out of range.
    """
    return Scorer.from_plugin(name, settings=settings)

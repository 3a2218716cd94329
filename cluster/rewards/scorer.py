"""A scorer turns an answer and its reference into a reward."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from cluster.candidate import Resources
from cluster.plugins import Kind
from cluster.spec import IdentifiedSpec

RATING_SCHEMA = pl.Schema({"value": pl.Float64(), "raw": pl.Float64(), "reason": pl.String()})
"""What a scorer says of an answer.

`value` is the reward, null where there is none; `raw` the number it was made from, before it was
mapped (a logit, a grade from 1 to 5), or null; `reason` why it is what it is, where that is worth
keeping: what went wrong in a run, or why an answer that has a reference has no reward.
"""
BATTLE_SCHEMA = pl.Schema(
    {
        "query_id": pl.String(),
        "candidate_a": pl.String(),
        "candidate_b": pl.String(),
        "outcome": pl.Float64(),
    }
)


@dataclass(frozen=True)
class Usage:
    """Tokens a model read and wrote, and USD (None where a price is missing)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        known = self.cost_usd is not None and other.cost_usd is not None
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
        )


@dataclass(frozen=True)
class Rated:
    """What a scorer made of some answers.

    Attributes:
        ratings: `RATING_SCHEMA`, one row an answer, in the answers' order.
        battles: `BATTLE_SCHEMA`, of scorers that compare answers; outcome 1 where `candidate_a`
            (an id) did better, 0 where `candidate_b` did, 0.5 for a tie.
        usage: what the models it asks have read and written.
    """

    ratings: pl.DataFrame
    battles: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BATTLE_SCHEMA))
    usage: Usage = Usage()


Rater = Callable[[pl.DataFrame], Rated]


class Scorer(IdentifiedSpec):
    """Settings of a reward, and how it is computed. One subclass a reward.

    A subclass is registered as an entry point of the group `signalbox.scorers` under its name.

    Attributes:
        needs_actor: whether it holds a model, or works for long: it then runs in actors of Ray,
            each with `resources`, and is opened once in each.
        whole_queries: whether it has to see all answers to a query together. The answers then
            carry the `value`, `raw` and `reason` they have (null where they are new), and a value
            for one that is not new takes the place of the old.
    """

    kind: ClassVar[str] = "scorer"
    plugins: ClassVar[Kind] = "scorers"
    needs_actor: ClassVar[bool] = False
    whole_queries: ClassVar[bool] = False

    @property
    def scorer_id(self) -> str:
        """Identity of the rewards it gives: the hash of its spec."""
        return self.spec_id

    @property
    def placement(self) -> Resources:
        """What one of its actors needs, and how many there may be."""
        return Resources()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of other scorers whose rewards it is made from; it runs after them."""
        return ()

    @property
    def needs_reference(self) -> bool:
        """Whether it has no reward for any answer to a query that has no reference."""
        return False

    def bound(
        self,
        read: pl.DataFrame,  # noqa: ARG002
        *,
        ids: Mapping[str, str],  # noqa: ARG002
        kept: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> "Scorer":
        """The same, tied to the rewards it reads, which then are part of its identity.

        Asked of a scorer that reads others before it rates. The answers it rates then carry
        `read_column(name)`, the other's reward (Float64), and `reason_column(name)` (str), both
        nullable, of every scorer it reads; `text` is null where an answer was not kept.

        Args:
            read: all answers of the dataset that another has rewarded: these columns and `learned`
                (bool: of split train or validation).
            ids: scorer_id by the name of a scorer it reads.
            kept: specs under which rewards of its name are in the lake.
        """
        return self

    @abstractmethod
    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Reward of every answer: Float64, (n_answers,); in [0, 1] but for reward models.

        Args:
            answers: `query` (str), `text` (the candidate's answer, str) and `reference`
                (str, nullable), one row an answer.

        Returns:
            The rewards in the rows' order; null where the reward does not apply: without a
            reference it can use, or without an answer (an error is missing, never 0).
        """

    def rate(self, answers: pl.DataFrame) -> Rated:
        """The same with what it was made from; scorers that know a reason say it here.

        Args:
            answers: as in `score`, and beside it `query_id`, `candidate_id`, `candidate` (its
                name), `sample`, `task`, `messages` (the chat as JSON, nullable), `outcome` (ok or
                truncated), `first_logprobs` (JSON, nullable), and `new`: whether it has no reward
                yet. With `whole_queries` those that have one are seen again; what is said of them
                is not kept.
        """
        values = pl.DataFrame({"value": self.score(answers).cast(pl.Float64)})
        ratings = values.with_columns(raw=pl.lit(None), reason=pl.lit(None))
        return Rated(ratings.select(pl.col(n).cast(k) for n, k in RATING_SCHEMA.items()))

    def open(self) -> AbstractContextManager[Rater]:
        """What rates, for as long as it is open; scorers with a model load it here."""
        return nullcontext(self.rate)


def read_column(name: str) -> str:
    """Column of the reward of another scorer."""
    return f"reward:{name}"


def reason_column(name: str) -> str:
    """Column of another scorer's reason."""
    return f"reason:{name}"


def load_scorer(name: str, /, **settings: Any) -> Scorer:
    """The scorer of that name with its settings.

    Raises:
        InputError: the name is not installed, or a setting is unknown or out of range.
    """
    return Scorer.from_plugin(name, settings=settings)

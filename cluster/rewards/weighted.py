"""Several scorers' rewards as one, by declared weights."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cluster.normalisation import Scaling, Yardstick, yardstick
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Scorer, read_column, reason_column

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# A scale is measured again when there is this often as much to measure it on: so the rewards that
# are kept under older scales are never more than those under the newest.
GROWTH = 2


class Part(BaseModel):
    """One of the scorers that are combined.

    Attributes:
        scorer_id: whose rewards.
        offset, spread: of the scale they are brought to, see `cluster.normalisation`.
        measured_on: rewards the scale was measured on; 0 where none is needed.
        learned: whether those were of train and validation alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scorer_id: str
    offset: float = 0.0
    spread: float = 0.0
    measured_on: int = 0
    learned: bool = False


class Weighted(Scorer):
    """The weighted mean of other scorers' rewards, each brought to a common scale.

    An answer that lacks a part's reward has none, with the part's reason where it gave one; with
    `partial` it has the mean of those there are, and the reason says what is missing.

    Attributes:
        of: by the name of a scorer, its weight; they need not sum to 1.
        normalise: how a part's rewards are scaled before they are weighed, by those on train and
            validation (on all where there are none). The scale is kept, so that what is rewarded
            later is measured alike, until there is twice as much to measure it on. There is no
            `rank`: with every new candidate all ranks of a query would be others.
        temperature: of the sigmoid.
        partial: whether some of the parts are enough.
    """

    name: ClassVar[str] = "weighted"

    of: dict[str, Weight] = Field(min_length=1, description="scorer and weight")
    normalise: Scaling = Field(default="none", description="how parts are scaled")
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    partial: bool = Field(default=False, description="whether some of the parts are enough")

    @property
    def reads(self) -> tuple[str, ...]:
        """The scorers that are combined."""
        return tuple(self.of)

    def bound(
        self, read: pl.DataFrame, *, ids: Mapping[str, str], kept: Sequence[Mapping[str, Any]]
    ) -> "WeightedParts":
        """See `Scorer.bound`."""
        settings = self.model_dump()
        measured = {name: self._part(name, read, scorer_id=ids[name]) for name in self.of}
        fresh = WeightedParts(**settings, parts=measured)
        earlier = [
            WeightedParts(**settings, parts=spec["parts"])
            for spec in kept
            if spec == self.spec() | {"parts": spec.get("parts")}
        ]
        fit = [one for one in earlier if one.serves(fresh)]
        return max(fit, key=lambda one: one.measured_on, default=fresh)

    def _part(self, name: str, read: pl.DataFrame, *, scorer_id: str) -> Part:
        if self.normalise == "none":
            return Part(scorer_id=scorer_id)
        rows = read.filter(pl.col(read_column(name)).is_finite())
        learned = rows.filter("learned")
        values = (learned if learned.height else rows)[read_column(name)].to_numpy()
        made = yardstick(values, scaling=self.normalise)
        return Part(
            scorer_id=scorer_id,
            offset=made.offset,
            spread=made.spread,
            measured_on=len(values),
            learned=learned.height > 0,
        )

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        return self.rate(answers).ratings["value"]

    def rate(self, answers: pl.DataFrame) -> Rated:  # noqa: ARG002
        """See `Scorer.rate`; the parts' rewards stand in the columns the answers carry."""
        raise AssertionError("the parts' ids and scales are not known yet: `bound` gives them")


class WeightedParts(Weighted):
    """`Weighted`, tied to the rewards it combines.

    Attributes:
        parts: by the name of a scorer, its identity and scale.
    """

    parts: dict[str, Part]

    @property
    def measured_on(self) -> int:
        """Rewards its scales were measured on."""
        return sum(part.measured_on for part in self.parts.values())

    def serves(self, fresh: "WeightedParts") -> bool:
        """Whether its scales, measured earlier, will do for what `fresh` was measured on."""
        pairs = [(self.parts[name], fresh.parts[name]) for name in self.of]
        return all(
            (old.scorer_id, old.learned) == (new.scorer_id, new.learned)
            and new.measured_on < max(GROWTH * old.measured_on, 1)
            for old, new in pairs
        )

    def rate(self, answers: pl.DataFrame) -> Rated:
        """See `Scorer.rate`."""
        scaled = answers.select(
            *(self._scaled(name, answers) for name in self.of),
            *(pl.col(reason_column(name)) for name in self.of),
        )
        ratings = scaled.select(value=self._mean(), raw=pl.lit(None), reason=self._reason())
        return Rated(ratings.select(pl.col(n).cast(k) for n, k in RATING_SCHEMA.items()))

    def _scaled(self, name: str, answers: pl.DataFrame) -> pl.Series:
        part = self.parts[name]
        made = Yardstick(self.normalise, part.offset, part.spread, self.temperature)
        column = read_column(name)
        values = made.measured(answers[column].cast(pl.Float64).to_numpy())
        return pl.Series(column, values, nan_to_null=True)

    def _mean(self) -> pl.Expr:
        known = {name: pl.col(read_column(name)).is_not_null() for name in self.of}
        total = pl.sum_horizontal(pl.col(read_column(n)) * w for n, w in self.of.items())
        weight = pl.sum_horizontal(known[name].cast(pl.Float64) * w for name, w in self.of.items())
        there = known.values()
        enough = pl.any_horizontal(there) if self.partial else pl.all_horizontal(there)
        return pl.when(enough).then(total / weight)

    def _reason(self) -> pl.Expr:
        """What is missing and why; nothing of a part that does not apply, unless others are
        enough."""
        told = [self._fault(name) for name in self.of]
        words = pl.concat_str(told, separator="; ", ignore_nulls=True)
        return pl.when(words != "").then(words)

    def _fault(self, name: str) -> pl.Expr:
        there = [pl.col(read_column(part)).is_not_null() for part in self.of]
        why = pl.col(reason_column(name))
        if self.partial:
            why = pl.coalesce(why, pl.when(pl.any_horizontal(there)).then(pl.lit("no reward")))
        words = pl.concat_str(pl.lit(f"{name}: "), why)
        return pl.when(pl.col(read_column(name)).is_null()).then(words)

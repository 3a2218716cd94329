"""From outcomes to preferences: every two candidates that a query knows the rewards of.

    target = (1 + reward of a − reward of b) / 2

so that right against wrong is a win, and two rights or two wrongs are half a win each. Rows made of
a judge's battles (`cluster.lake.preferences`) hold the outcome and its complement as the pair's
rewards, which gives the outcome back: gold and judged preferences are made and mixed alike.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cluster.errors import InputError
from cluster.normalisation import TO_UNIT
from cluster.outcome import BoolMatrix, OutcomeMatrix
from cluster.preference import Comparisons, Positions
from cluster.routers.router import Method
from cluster.routers.strong_weak import on_candidates, pair_columns

# Rows whose pairs are looked for at a time: of 60 candidates there are 1,770 pairs a row.
ROWS_AT_ONCE = 4_096


class ComparisonMethod(Method):
    """A method that learns from comparisons, of all candidates or of a strong and a weak one.

    Attributes:
        strong, weak: names of the pair, where only it is to be routed between. Two candidates are
            a pair where nothing is said, the one with the higher macro mean on train the strong.
        tiers: cut the candidates into so many tiers by strength; 0: into none.
        strong_tiers, weak_tier: learn the pair from every comparison of a candidate of these tiers
            with one of that tier, 0 being the best (`cluster.routers.tier_pair`). RouteLLM has 10
            tiers, 0 and 1 the strong and 2 the weak.
    """

    # Whether tiers without a strong and a weak one among them are what it compares.
    compares_tiers: ClassVar[bool] = False
    # Settings with which it looks at nothing but differences of rewards, where it has others.
    by_difference: ClassVar[Mapping[str, Any]] = {}

    strong: str = ""
    weak: str = ""
    tiers: int = Field(default=0, ge=0)
    strong_tiers: tuple[int, ...] = ()
    weak_tier: int | None = None

    @model_validator(mode="after")
    def _tiers_that_can_be_compared(self) -> Self:
        named = {*self.strong_tiers, -1 if self.weak_tier is None else self.weak_tier}
        if self.learns_tiers:
            right = self.strong_tiers and self.weak_tier not in self.strong_tiers
            if not right or not named <= set(range(self.tiers)):
                raise PydanticCustomError(
                    "tiers",
                    "'strong_tiers' and 'weak_tier' name different tiers, 0 to 'tiers' - 1, such "
                    "as tiers: 10, strong_tiers: [0, 1], weak_tier: 2",
                )
        elif self.tiers and not self.compares_tiers:
            raise PydanticCustomError(
                "tiers",
                "'tiers' takes 'strong_tiers' and 'weak_tier' beside it, such as tiers: 10, "
                "strong_tiers: [0, 1], weak_tier: 2",
            )
        return self

    @property
    def learns_tiers(self) -> bool:
        """Whether the pair is learned from comparisons of tiers."""
        return bool(self.strong_tiers) or self.weak_tier is not None

    def require_differences(self) -> None:
        """Refuse settings that look at a reward itself, where only differences are known.

        Raises:
            InputError: there is such a setting.
        """
        for setting, value in self.by_difference.items():
            found = getattr(self, setting)
            if found != value:
                raise InputError(
                    f"method '{self.name}': setting '{setting}' is '{found}', which is about a "
                    "reward itself, and battles and comparisons of tiers tell only who did better: "
                    f"set {setting}: {value}"
                )

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`.

        Raises:
            InputError: no rows, no such pair, or rewards that no comparisons can be made of.
        """
        super().check(outcomes, validation=validation)
        require_comparable(self.narrowed(outcomes))

    def columns(self, outcomes: OutcomeMatrix) -> list[int]:
        """Columns the router will have, in its order: of a pair the strong candidate first.

        Raises:
            InputError: no such pair.
        """
        if not self.strong and not self.weak and len(outcomes.candidates) != 2:
            return list(range(len(outcomes.candidates)))
        return pair_columns(outcomes, strong=self.strong, weak=self.weak)

    def narrowed(self, outcomes: OutcomeMatrix) -> OutcomeMatrix:
        """The same queries with the candidates the router will have.

        Raises:
            InputError: no such pair.
        """
        return on_candidates(outcomes, self.columns(outcomes))


def compare(outcomes: OutcomeMatrix, *, needed: bool = True) -> Comparisons:
    """All pairs of candidates whose rewards are known on the same query, each of weight 1.

    Ordered by row, then by the candidates' columns; `a` is the earlier column. `needed`: whether
    there must be a comparison, where there is more than one candidate.

    Raises:
        InputError: two rewards of a query differ by more than 1, or no query knows two rewards
            though a comparison is needed.
    """
    first, second = np.triu_indices(len(outcomes.candidates), k=1)
    row, pair = known_pairs(outcomes.mask, first=first, second=second)
    if needed and not len(row) and len(first):
        raise InputError(
            "no training query has rewards of two candidates, so there is nothing to compare: "
            "collect several candidates on the same queries"
        )
    a, b = first[pair], second[pair]
    difference = outcomes.reward[row, a] - outcomes.reward[row, b]
    _require_unit(outcomes, row=row, a=a, b=b, difference=difference)
    return Comparisons(
        row=row.astype(np.int64),
        a=a.astype(np.int64),
        b=b.astype(np.int64),
        target=(1 + difference) / 2,
        weight=np.ones(len(row)),
        n_rows=len(outcomes),
        n_players=len(outcomes.candidates),
    )


def require_comparable(outcomes: OutcomeMatrix) -> None:
    """Refuse what `compare` would, without making the comparisons of all rows.

    Raises:
        InputError: as `compare`.
    """
    known = outcomes.mask
    highest = np.where(known, outcomes.reward, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(known, outcomes.reward, np.inf).min(axis=1, initial=np.inf)
    telling = (known.sum(axis=1) > 1, highest - lowest > 1)
    compare(outcomes.take(np.concatenate([np.flatnonzero(rows)[:1] for rows in telling])))


def known_pairs(mask: BoolMatrix, *, first: Positions, second: Positions) -> tuple[Positions, ...]:
    """Rows and places of the pairs of columns that both are True, by row and then by pair."""
    found = [
        np.nonzero(part[:, first] & part[:, second])
        for part in np.array_split(mask, range(ROWS_AT_ONCE, len(mask), ROWS_AT_ONCE))
    ]
    rows = [row + place * ROWS_AT_ONCE for place, (row, _) in enumerate(found)]
    nothing = np.zeros(0, dtype=np.int64)
    return np.concatenate([nothing, *rows]), np.concatenate([nothing, *(pair for _, pair in found)])


def _require_unit(
    outcomes: OutcomeMatrix,
    *,
    row: np.ndarray[tuple[int], np.dtype[np.int64]],
    a: np.ndarray[tuple[int], np.dtype[np.int64]],
    b: np.ndarray[tuple[int], np.dtype[np.int64]],
    difference: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    far = np.flatnonzero(np.abs(difference) > 1)
    if len(far):
        place = far[0]
        names = [outcomes.candidates[column] for column in (a[place], b[place])]
        raise InputError(
            f"query '{outcomes.queries['query_id'][int(row[place])]}': the rewards of "
            f"'{names[0]}' and '{names[1]}' differ by {abs(difference[place]):g}, and preferences "
            f"are made of rewards between 0 and 1; use {TO_UNIT}"
        )

"""A strong and a weak candidate, and how much the strong one must promise to be called.

RouteLLM (ICLR 2025, arXiv 2406.18665, section 3) calls the strong model where the router's score
reaches a threshold, and sets that threshold so that a wished share of queries reaches it. Here the
score is the expected reward of the strong candidate minus that of the weak one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.cut import Entries, Histogram, falling, find_cut, value_of
from cluster.policies.policy import (
    Choices,
    Passes,
    Policy,
    Scored,
    require_a_choice,
    text_number,
)
from cluster.routers.router import Prediction

ALL = 1 << 64
_MOST = float(np.finfo(np.float64).max)


class Threshold(Policy):
    """The strong candidate where it promises enough more than the weak one.

    Attributes:
        strong_share: of the file's queries that go to the strong candidate; or
        threshold: what it must promise more, in the reward's own unit.
        strong, weak: names of the pair. Empty: the router's only two, the strong one first, whom
            `among` names.
        columns: of the strong and the weak candidate; `among` finds them.
        at: settled: the threshold that the share reaches on the file.
        number: settled: queries that promise exactly that go to the strong candidate if their
            text's number is lower.
        forced: settled: queries for which only the strong candidate may be asked.

    A query for which only one of the two may be asked goes to that one, and where that is the
    strong one it counts towards the share.
    """

    name: ClassVar[str] = "threshold"

    strong_share: float | None = Field(default=None, ge=0, le=1)
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    strong: str = ""
    weak: str = ""
    columns: tuple[int, int] = (0, 1)
    at: float | None = Field(default=None, allow_inf_nan=False)
    number: int = ALL
    forced: int = 0

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> Self:
        if (self.strong_share is None) == (self.threshold is None):
            raise ValueError("give strong_share or threshold, one of them")
        if bool(self.strong) != bool(self.weak) or (self.strong and self.strong == self.weak):
            raise ValueError("strong and weak name two different candidates: give both or neither")
        return self

    @property
    def needs_file(self) -> bool:
        """For a share, until it is settled."""
        return self.threshold is None and self.at is None

    def among(self, candidates: tuple[str, ...]) -> Self:
        """With the columns of the pair; see `Policy.among`.

        Raises:
            InputError: one of the pair is not there, or there are not two to choose between.
        """
        if not self.strong and len(candidates) != 2:
            raise InputError(
                f"policy '{self.name}' is for a strong and a weak candidate, and the router has "
                f"{len(candidates)} ({', '.join(candidates)}): name two with --strong and --weak"
            )
        names = (self.strong, self.weak) if self.strong else candidates
        for name in names:
            if name not in candidates:
                raise InputError(
                    f"policy '{self.name}': '{name}' is not a candidate of the router; its "
                    f"candidates: {', '.join(candidates)}"
                )
        columns = (candidates.index(names[0]), candidates.index(names[1]))
        named = {"strong": names[0], "weak": names[1], "columns": columns}
        return self.model_copy(update=named)

    def eligible(self, prediction: Prediction, *, cost: FloatMatrix | None = None) -> BoolMatrix:
        """The pair alone; see `Policy.eligible`."""
        known = super().eligible(prediction, cost=cost)
        outside = np.ones(known.shape[1], dtype=bool)
        outside[list(self.columns)] = False
        known[:, outside] = False
        return known

    def facts(self) -> dict[str, Any]:
        """What was set and settled, without what was left as it is or decides about no query."""
        unsaid = {"columns"} | ({"at", "number"} if abs(self.at or 0.0) == _MOST else set())
        return self.model_dump(mode="json", exclude_defaults=True, exclude=unsaid)

    def settle(self, scored: Passes) -> Policy:
        """The threshold that the share of this file's queries reaches; see `Policy.settle`."""
        if self.strong_share is None:
            return self
        first, queries, forced = Histogram(), 0, 0
        for rows in scored():
            queries += len(rows.numbers)
            forced += int(np.count_nonzero(~self._pair(rows.prediction, allowed=rows.allowed).weak))
            first.add(self._entries(rows))
        limit = round(self.strong_share * queries)
        cut = find_cut(lambda: map(self._entries, scored()), limit=limit, first=first)
        line = (-_MOST, ALL) if cut is None else (value_of(cut.order), cut.number)
        return self.model_copy(update={"at": line[0], "number": line[1], "forced": forced})

    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,  # noqa: ARG002 - quality alone decides
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """The strong or the weak column; see `Policy.choose`."""
        pair = self._pair(prediction, allowed=allowed)
        calls = (self._reaches(pair.score, texts=texts) & pair.strong) | ~pair.weak
        choices: Choices = np.where(calls, *self.columns)
        return choices

    def _entries(self, rows: Scored) -> Entries:
        """A strong call of each row that may have one."""
        pair = self._pair(rows.prediction, allowed=rows.allowed)
        calls = Entries(falling(pair.score), rows.numbers, np.ones(len(pair.score)))
        return calls.where(pair.strong)

    def _reaches(self, score: FloatMatrix, *, texts: pl.Series) -> BoolMatrix:
        """(n,) whether scores are enough for the strong candidate."""
        at = self.threshold if self.at is None else self.at
        assert at is not None, "a share is settled on the file before it chooses"
        enough: BoolMatrix = score > at
        ties = np.flatnonzero(score == at)
        enough[ties] = [text_number(text) < self.number for text in texts[ties]]
        return enough

    def _pair(self, prediction: Prediction, *, allowed: BoolMatrix | None) -> "_Pair":
        usable = self.eligible(prediction)
        if allowed is not None:
            usable &= allowed
        require_a_choice(usable)
        strong, weak = self.columns
        gain = prediction.reward[:, strong] - prediction.reward[:, weak]
        score = np.where(usable[:, weak], gain, _MOST)
        return _Pair(usable[:, strong], usable[:, weak], score)


@dataclass(frozen=True)
class _Pair:
    """What is known of the two.

    Attributes:
        strong, weak: (n,) whether each may be asked.
        score: (n,) what the strong one promises more; the most where it is the only one, and
            anything where it may not be asked.
    """

    strong: BoolMatrix
    weak: BoolMatrix
    score: FloatMatrix

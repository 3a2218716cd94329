"""As much expected reward as a budget for the whole file allows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.cut import Entries, Histogram, falling, find_cut, value_of
from cluster.policies.leftover import fill
from cluster.policies.policy import Choices, Passes, Policy, Scored, text_numbers
from cluster.policies.steps import Offers, Step
from cluster.routers.router import Prediction

NO_PRICES = "policy 'budget' needs the candidates' prices; none were given"
# Of the budget; less than this is not worth another pass over the file.
LEFT_SHARE = 0.001


class Budget(Policy):
    """The highest sum of expected rewards whose expected cost is within a budget.

    Every query starts at its cheapest candidate. The steps up to better ones (`Offers.steps`) are
    taken in the order of what they bring per USD, while the budget lasts; rows whose steps bring
    exactly the same are taken by their texts' numbers. So the sum of rewards is within one step of
    the best there is, the cost within one step of the budget, and never above it. Where that step
    is a large one, what is left goes to the next ones that fit. Rows with the same text go
    together, and their step is as large as all of theirs.

    Attributes:
        usd_per_1000: USD per 1,000 queries of the file that are routed; or
        usd_total: USD for the whole file.
        lambda_usd: settled: reward per USD that a step must bring; 0 where the budget is enough for
            the highest reward of every row.
        number: settled: of the steps that bring just that, those of lower numbers are taken.
        more: settled: (reward per USD, number) of single steps that are taken beyond that.
        budget_usd, expected_usd: settled: what may be spent on the file, and what will be.
    """

    name: ClassVar[str] = "budget"

    usd_per_1000: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    usd_total: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    lambda_usd: float | None = Field(default=None, allow_inf_nan=False)
    number: int = 0
    more: tuple[tuple[float, int], ...] = ()
    budget_usd: float | None = None
    expected_usd: float | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.usd_per_1000 is None) == (self.usd_total is None):
            raise ValueError("give usd_per_1000 or usd_total, one of them")
        return self

    @property
    def needs_cost(self) -> bool:
        """Always."""
        return True

    @property
    def needs_file(self) -> bool:
        """Until it is settled."""
        return self.lambda_usd is None

    def facts(self) -> dict[str, Any]:
        """With `binds`: whether some query got less than its best for want of money."""
        return super().facts() | ({} if self.needs_file else {"binds": self.lambda_usd != 0})

    def settle(self, scored: Passes) -> "Budget":
        """What a step must bring on this file; see `Policy.settle`.

        Raises:
            InputError: even the cheapest candidate of every query costs more than the budget.
        """
        seen = _Totals()
        for rows in scored():
            seen.add(rows)
        budget = self._budget(seen.queries)
        if seen.cheapest_usd > budget:
            raise InputError(_too_little(self, budget=budget, seen=seen))
        settled = self.model_copy(
            update={"lambda_usd": 0.0, "budget_usd": budget, "expected_usd": seen.best_usd}
        )
        cut = find_cut(
            lambda: (entries for rows in scored() for entries in _entries(_offers(rows))),
            limit=budget - seen.cheapest_usd,
            first=seen.steps,
        )
        if cut is None:
            return settled
        spent = seen.cheapest_usd + cut.taken
        line = {"lambda_usd": value_of(cut.order), "number": cut.number, "expected_usd": spent}
        return settled.model_copy(update=line)._filled(scored)

    def _filled(self, scored: Passes) -> "Budget":
        """With what is left spent on the next steps that fit."""
        assert self.budget_usd is not None, "settled"
        assert self.expected_usd is not None, "settled"
        left, enough = self.budget_usd - self.expected_usd, LEFT_SHARE * self.budget_usd
        if left <= enough:
            return self
        keys, spent = fill(
            lambda: (each for rows in scored() for each in self._next_steps(_offers(rows))),
            left=left,
            enough=enough,
        )
        more = tuple((value_of(order), number) for order, number in keys)
        return self.model_copy(update={"more": more, "expected_usd": self.expected_usd + spent})

    def _next_steps(self, offers: Offers) -> Iterator[Entries]:
        """Of every row the first step that the cut leaves out."""
        for step, _, is_next in self._walk(offers, offers.cheapest()):
            numbers = offers.numbers[step.rows]
            entries = Entries(falling(step.reward_per_usd), numbers, step.usd)
            yield entries.where(is_next)

    def _walk(
        self, offers: Offers, start: Choices
    ) -> Iterator[tuple[Step, BoolMatrix, BoolMatrix]]:
        """Every step; (k,) where it is before the cut, and where it is the first that is not."""
        assert self.lambda_usd is not None, "a budget is settled on the file before it chooses"
        has_stopped = np.zeros(len(start), dtype=bool)
        for step in offers.steps(start):
            taken = step.reward_per_usd > self.lambda_usd
            same = step.reward_per_usd == self.lambda_usd
            taken |= same & (offers.numbers[step.rows] < np.uint64(self.number))
            yield step, taken, ~taken & ~has_stopped[step.rows]
            has_stopped[step.rows[~taken]] = True

    def _budget(self, queries: int) -> float:
        if self.usd_total is not None:
            return self.usd_total
        assert self.usd_per_1000 is not None, "validated"
        return self.usd_per_1000 * queries / 1000

    def choose(
        self,
        prediction: Prediction,
        *,
        texts: pl.Series,
        cost: FloatMatrix | None = None,
        allowed: BoolMatrix | None = None,
    ) -> Choices:
        """The end of the steps that are taken; see `Policy.choose`."""
        return self.columns(Scored(prediction, text_numbers(texts), cost, allowed))

    def columns(self, rows: Scored) -> Choices:
        """As `choose`, of rows whose texts' numbers are known."""
        offers = _offers(rows)
        start = offers.cheapest()
        chosen = start.copy()
        for step, taken, is_next in self._walk(offers, start):
            goes = taken | (is_next & self._is_more(step, offers=offers))
            chosen[step.rows[goes]] = step.columns[goes]
        return chosen

    def _is_more(self, step: Step, *, offers: Offers) -> BoolMatrix:
        """(k,) whether a step is one of `more`."""
        numbers = offers.numbers[step.rows]
        found = np.isin(numbers, np.array([number for _, number in self.more], dtype=np.uint64))
        for place in np.flatnonzero(found):
            key = (float(step.reward_per_usd[place]), int(numbers[place]))
            found[place] = key in self.more
        return found


@dataclass
class _Totals:
    """What the first pass over a file adds up.

    Attributes:
        queries: rows.
        cheapest_usd: if every query went to its cheapest candidate.
        best_usd: if every query went to its best, the cheaper one of equal ones.
        steps: the steps between, by the first bits of what they bring per USD.
    """

    queries: int = 0
    cheapest_usd: float = 0.0
    best_usd: float = 0.0
    steps: Histogram = field(default_factory=Histogram)

    def add(self, rows: Scored) -> None:
        """Count some more rows."""
        offers = _offers(rows)
        start = offers.cheapest()
        usd = float(offers.cost[np.arange(len(start)), start].sum())
        self.queries += len(start)
        self.cheapest_usd += usd
        self.best_usd += usd
        for entries in _entries(offers, start=start):
            self.steps.add(entries)
            self.best_usd += float(entries.weight.sum())


def _offers(rows: Scored) -> Offers:
    if rows.cost is None:
        raise InputError(NO_PRICES)
    reward = rows.prediction.reward
    usable = ~np.isnan(reward) & ~np.isnan(rows.cost)
    if rows.allowed is not None:
        usable &= rows.allowed
    return Offers(reward, rows.cost, usable, rows.numbers)


def _entries(offers: Offers, *, start: Choices | None = None) -> Iterator[Entries]:
    """The steps of some rows, as entries whose weight is money."""
    for step in offers.steps(offers.cheapest() if start is None else start):
        yield Entries(falling(step.reward_per_usd), offers.numbers[step.rows], step.usd)


def _too_little(policy: Budget, *, budget: float, seen: _Totals) -> str:
    needed = seen.cheapest_usd
    if policy.usd_total is not None:
        asked, least = f"--usd-total {policy.usd_total:g}", f"{_rounded_up(needed)} USD"
    else:
        asked = f"--usd-per-1000 {policy.usd_per_1000:g}"
        least = f"{_rounded_up(needed * 1000 / seen.queries)} USD per 1,000 queries"
    return (
        f"{asked}: even the cheapest candidate for each of the {seen.queries} queries is expected "
        f"to cost {least} (all together {needed:.6g} USD, the budget is {budget:.6g}); give at "
        "least that, allow a cheaper candidate, or route fewer rows"
    )


def _rounded_up(usd: float) -> str:
    """Three digits that are enough: rounding down would be refused again."""
    nearest = float(f"{usd:.4g}")
    return f"{nearest if nearest >= usd else usd * 1.001:.4g}"

"""A scorer whose judgement of one answer runs in a bounded worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import polars as pl
from pydantic import Field

from cluster.candidate import Resources
from cluster.rewards.bounded.pool import Pool, processors
from cluster.rewards.bounded.worker import Bounds, Outcome
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Rater, Scorer


class BoundedScorer(Scorer):
    """Value and reason of an answer and its reference come from a function in a worker.

    Attributes:
        judge: the function, `module:name`; of text and reference, returns value and reason.
        probe: an answer that any sound reference judges at once.
        seconds: wall clock for one answer.
        memory_mb: memory for one answer.
        resources: what one actor needs, how many there are; changes no value.
    """

    judge: ClassVar[str]
    probe: ClassVar[str]
    needs_actor: ClassVar[bool] = True
    unhashed: ClassVar[frozenset[str]] = frozenset({"resources"})

    seconds: float = Field(default=5.0, gt=0, le=3600, description="time for one answer")
    memory_mb: int = Field(default=1024, ge=64, description="memory for one answer")
    resources: Resources = Resources()

    @property
    def placement(self) -> Resources:
        """What one of its actors needs, and how many there may be."""
        return self.resources

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        return self.rate(answers).ratings["value"]

    def rate(self, answers: pl.DataFrame) -> Rated:
        """The same with reasons; for many tables `open` it once. See `Scorer.rate`."""
        with self.open() as rate:
            return rate(answers)

    @contextmanager
    def open(self) -> Iterator[Rater]:
        """Workers for as long as it is open."""
        bounds = Bounds(seconds=self.seconds, memory_mb=self.memory_mb)
        warm = (self.probe, self.probe)
        workers = processors(self.resources)
        with Pool(self.judge, bounds=bounds, workers=workers, warm=warm) as pool:
            yield lambda answers: self._rate(answers, pool=pool)

    def reference(self) -> pl.Expr:
        """What an answer is held against, as the function wants it; null where there is none."""
        given = pl.col("reference").cast(pl.String)
        return pl.when(given.str.strip_chars() != "").then(given)

    def _rate(self, answers: pl.DataFrame, *, pool: Pool) -> Rated:
        asked = answers.select(pl.col("text").cast(pl.String), self.reference().alias("reference"))
        told = asked.with_row_index().drop_nulls()
        outcomes = _judged(told.select("text", "reference").rows(), probe=self.probe, pool=pool)
        rows = pl.DataFrame(
            [(row, *_rating(done)) for row, done in zip(told["index"], outcomes, strict=True)],
            schema={"index": pl.UInt32, **RATING_SCHEMA},
            orient="row",
        )
        every = asked.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("index"))
        joined = every.join(rows, on="index", how="left", maintain_order="left")
        return Rated(joined.select(*RATING_SCHEMA))


def _judged(pairs: list[tuple[str, str]], *, probe: str, pool: Pool) -> list[Outcome]:
    """What became of each pair. Where a bound was broken, the reference is probed: if that breaks
    it too, no answer is worth less for it."""
    outcomes = pool.map(pairs)
    broken = {reference for (_, reference), done in zip(pairs, outcomes, strict=True) if done.fault}
    alone = [(probe, reference) for reference in sorted(broken)]
    faults = {
        reference: f"the reference: {done.fault}"
        for (_, reference), done in zip(alone, pool.map(alone), strict=True)
        if done.fault
    }
    return [
        Outcome(value=(None, faults[reference])) if reference in faults else done
        for (_, reference), done in zip(pairs, outcomes, strict=True)
    ]


def _rating(outcome: Outcome) -> tuple[float | None, None, str | None]:
    """Value, raw and reason; what breaks a bound is worth nothing."""
    if outcome.fault is not None:
        return 0.0, None, outcome.fault
    value, reason = outcome.value
    return value, None, reason

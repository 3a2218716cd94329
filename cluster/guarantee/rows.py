"""Which rows a promise may rest on, and what each is worth.

New queries are thought of as drawn like these rows, so a row may count only if its being here has
nothing to do with the router: not what it was trained on, selected by or promoted by, and not what
was picked because it looked hard.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.errors import InputError
from cluster.folds import hash_positions
from cluster.normalisation import TO_UNIT
from cluster.outcome import BoolMatrix, FloatMatrix, OutcomeMatrix
from cluster.routers.means import group_means

SPLIT = "calibration"
# Fewer cannot certify anything worth having; about 500 are needed for .95, 2,000 for .99.
FEWEST = 250
# Why a row is left out that repeats another's text.
COPIES = "repeat a text (their mean counts once)"

Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """Rows that count, one a text.

    Attributes:
        outcomes: of the rows, in an order that depends on their texts alone.
        weight: (n_queries,), in (0, 1]: what a row counts for.
        left_out: by reason, how many rows were left out.
    """

    outcomes: OutcomeMatrix
    weight: FloatMatrix
    left_out: dict[str, int]

    def where(self, kept: Rows, *, reason: str) -> "Drawn":
        """Those of the rows that are marked; the others are counted under a reason."""
        if kept.all():
            return self
        left_out = self.left_out | {reason: int((~kept).sum())}
        return Drawn(self.outcomes.take(kept), self.weight[kept], left_out)

    @property
    def effective(self) -> float:
        """So many rows of equal weight would say as much."""
        total = self.weight.sum()
        return float(total**2 / (self.weight**2).sum()) if total else 0.0


def drawn(outcomes: OutcomeMatrix, *, seen: Rows, least: float) -> Drawn:
    """The calibration rows of a dataset that may count.

    Rows that were picked with a bias are left out where others were not; where all were, each
    counts with the inverse of the probability it was picked with.

    Args:
        outcomes: of the calibration split.
        seen: (n_queries,), whether a row nearly repeats one that the router was made with.
        least: probability that any query of the dataset was picked with, at the least.
    """
    chance = outcomes.queries["sampling_probability"].to_numpy().astype(float)
    silent = ~outcomes.mask.any(axis=1)
    uniform = chance == 1.0
    biased = ~uniform if uniform.any() else np.zeros(len(outcomes), dtype=np.bool_)
    kept = ~seen & ~silent & ~biased
    left_out = {
        "nearly repeat a query that the router was trained, selected or promoted by": seen,
        "have no reward of any candidate": silent & ~seen,
        "were picked with a bias": biased & ~seen & ~silent,
    }
    merged, copies = one_a_text(outcomes.take(kept))
    counts = {reason: int(rows.sum()) for reason, rows in left_out.items()}
    counts[COPIES] = copies
    chance = merged.queries["sampling_probability"].to_numpy().astype(float)
    weight = chance.min(initial=1.0 if uniform.any() else least) / chance
    return Drawn(merged, weight, {reason: n for reason, n in counts.items() if n})


def require_enough(found: Drawn, *, dataset: str) -> None:
    """Refuse a promise that would rest on too few rows.

    Raises:
        InputError: names the dataset, and what was left out.
    """
    if found.effective >= FEWEST:
        return
    why = "; ".join(f"{n} {reason}" for reason, n in found.left_out.items())
    raise InputError(
        f"dataset '{dataset}' has {int(found.effective)} calibration rows that may count, expected "
        f"{FEWEST} or more (split '{SPLIT}'; left out: {why or 'none'}). A floor of "
        ".95 needs about 500, .98 about 1,000, .99 about 2,000: collect more queries (a tenth of "
        "them are calibration), or import with --split calibration or --calibration SHARE"
    )


def one_a_text(outcomes: OutcomeMatrix) -> tuple[OutcomeMatrix, int]:
    """One row a text, by the texts' hashes, and how many rows that leaves out.

    All copies of a text have its split, so what is drawn are texts, not rows: copies counted as
    rows of their own would claim more evidence than there is. A text's rewards, tokens and costs
    are the means over its copies.
    """
    texts = outcomes.queries.select("text").with_row_index("row")
    groups = texts.group_by("text").agg(pl.col("row")).with_columns(first=pl.col("row").list.min())
    order = np.argsort(hash_positions(groups["text"], purpose=SPLIT), kind="stable")
    groups = groups[order]
    n_copies = len(outcomes) - groups.height
    merged = outcomes.take(groups["first"].to_numpy().astype(np.int64))
    if not n_copies:
        return merged, 0
    place = np.empty(len(outcomes), dtype=np.int64)
    spread = groups.with_row_index("group").explode("row")
    place[spread["row"].to_numpy()] = spread["group"].to_numpy()
    return _averaged(merged, outcomes=outcomes, place=place), n_copies


def _averaged(
    merged: OutcomeMatrix, *, outcomes: OutcomeMatrix, place: npt.NDArray[np.int64]
) -> OutcomeMatrix:
    def mean(matrix: FloatMatrix) -> FloatMatrix:
        return group_means(matrix, place, n_groups=len(merged))

    return replace(
        merged,
        reward=mean(outcomes.reward),
        prompt_tokens=mean(outcomes.prompt_tokens),
        completion_tokens=mean(outcomes.completion_tokens),
        cost_usd=mean(outcomes.cost_usd),
    )


def check_bounded(outcomes: OutcomeMatrix, *, greatest: float) -> None:
    """Make sure every reward is between 0 and the greatest there can be.

    Raises:
        InputError: one is not; no share of the reference's reward can then be promised.
    """
    outside = outcomes.mask & ((outcomes.reward < 0) | (outcomes.reward > greatest))
    if not outside.any():
        return
    row, column = np.argwhere(outside)[0]
    raise InputError(
        f"query {outcomes.queries['query_id'][int(row)]}, candidate "
        f"'{outcomes.candidates[column]}': reward {outcomes.reward[row, column]:g}, expected 0 to "
        f"{greatest:g}: a promise needs rewards with bounds that are known; name the greatest with "
        f"--reward-max, or use {TO_UNIT}"
    )


def worst_case(
    reward: FloatMatrix, *, chosen: npt.NDArray[np.int64], reference: int
) -> tuple[FloatMatrix, FloatMatrix]:
    """(n_queries,) what the route and the reference earn, missing rewards taken at their worst.

    Answers fail for reasons that have to do with the query, so rows without a reward cannot just
    be left out. A missing reward counts as 0 for the route and as the greatest, 1, for the
    reference; where the route is the reference both are 0, for it keeps its own reward.

    Args:
        reward: (n_queries, n_candidates), between 0 and 1, NaN where missing.
        chosen: (n_queries,), columns.
        reference: column.
    """
    rows = np.arange(len(reward))
    missing: BoolMatrix = np.isnan(reward)
    own = reward[:, reference]
    same = chosen == reference
    against = np.where(np.isnan(own), np.where(same, 0.0, 1.0), own)
    earned = np.where(missing[rows, chosen], 0.0, reward[rows, chosen])
    return earned, against

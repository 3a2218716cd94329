"""What became of every cell, a query for a candidate: rewarded, cut off, broken or never asked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS
from cluster.outcome import BoolMatrix
from cluster.quality.alarm import Alarm, listed, percent
from cluster.quality.collected import Collected

# What a cell can be, from good to bad; every cell is one of them.
KINDS = ("rewarded", "truncated", "unparsable", "no_reward", "error", "missing")
WORDS = {
    "rewarded": "rewarded",
    "truncated": "rewarded, but cut off",
    "unparsable": "no reward, with a reason",
    "no_reward": "answered, no reward",
    "error": "failed",
    "missing": "never asked",
}
# Less than one cell in a hundred changes no mean by more than what chance does.
SMALL = 0.01
# Reasons that are told apart; digits in them are not, or every one would be another.
MOST_REASONS, REASON_LENGTH = 8, 160
REASON_SCHEMA = {"what": pl.String, "reason": pl.String, "candidate": pl.String, "n": pl.UInt32}


@dataclass(frozen=True)
class Coverage:
    """Cells by what became of them.

    Attributes:
        cells: one row a candidate: `candidate` and a count for each of `KINDS`.
        reasons: one row a reason, a candidate and what it is a reason for (`unparsable`, `error`):
            `what`, `reason`, `candidate`, `n` answers.
        reward_of_truncated: mean reward of cells with cut-off answers; None where there are none.
        reward_of_whole: of the other rewarded cells.
    """

    cells: pl.DataFrame
    reasons: pl.DataFrame
    reward_of_truncated: float | None
    reward_of_whole: float | None

    @property
    def shares(self) -> dict[str, float]:
        """By kind: its share of all cells."""
        total = self.cells.select(KINDS).sum()
        whole = sum(total.row(0)) or 1
        return {kind: total[kind][0] / whole for kind in KINDS}


def coverage(found: Collected, *, lake: Lake) -> Coverage:
    """What became of every cell."""
    kinds = cell_kinds(found)
    counts = {kind: kinds[kind].sum(axis=0) for kind in KINDS}
    reward = found.cells.reward
    return Coverage(
        cells=pl.DataFrame({"candidate": list(found.candidates), **counts}),
        reasons=pl.concat([_reasons_of_rewards(found), _reasons_of_errors(found, lake=lake)]),
        reward_of_truncated=_mean(reward[kinds["truncated"]]),
        reward_of_whole=_mean(reward[kinds["rewarded"]]),
    )


def cell_kinds(found: Collected) -> dict[str, BoolMatrix]:
    """By kind, (n_queries, n_candidates): one is True in every cell."""
    outcome = pl.col("outcome").cast(pl.String)
    failed = found.any_of(found.answers.filter(outcome == "error"))
    cut = found.any_of(found.answers.filter(outcome == "truncated"))
    answered = found.any_of(found.answers.filter(outcome != "error"))
    rewarded = ~np.isnan(found.cells.reward)
    null = found.cells.rows.filter(pl.col("value").is_null() & pl.col("reason").is_not_null())
    unparsable = found.any_of(null) & ~rewarded
    left = ~rewarded & ~unparsable
    return {
        "rewarded": rewarded & ~cut,
        "truncated": rewarded & cut,
        "unparsable": unparsable,
        "no_reward": left & answered,
        "error": left & ~answered & failed,
        "missing": left & ~answered & ~failed,
    }


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    return float(values.mean()) if len(values) else None


def _short(reason: pl.Expr) -> pl.Expr:
    """A reason without what differs from one row to the next."""
    return reason.str.replace_all(r"\d+", "…").str.slice(0, REASON_LENGTH)


def _reasons_of_rewards(found: Collected) -> pl.DataFrame:
    null = found.cells.rows.filter(pl.col("value").is_null() & pl.col("reason").is_not_null())
    reasons = null.select("column", reason=_short(pl.col("reason")))
    return _counted(reasons.group_by("column", "reason").len("n"), what="unparsable", found=found)


def _reasons_of_errors(found: Collected, *, lake: Lake) -> pl.DataFrame:
    ids = found.queries.lazy().select("query_id")
    columns = pl.DataFrame({"candidate_id": list(found.candidate_ids)}).with_row_index("column")
    reasons = (
        lake.scan(COMPLETIONS)
        .filter(pl.col("outcome") == "error")
        .join(ids, on="query_id", how="semi")
        .join(columns.lazy(), on="candidate_id")
        .group_by("column", reason=_short(pl.col("error").fill_null("no reason given")))
        .len("n")
        .collect(engine="streaming")
    )
    return _counted(reasons, what="error", found=found)


def _counted(reasons: pl.DataFrame, *, what: str, found: Collected) -> pl.DataFrame:
    names = pl.DataFrame({"candidate": list(found.candidates)}, schema={"candidate": pl.String})
    named = reasons.join(names.with_row_index("column"), on="column")
    told = named.select(pl.lit(what).alias("what"), "reason", "candidate", "n")
    return told.cast(pl.Schema(REASON_SCHEMA)).sort("n", "reason", descending=[True, False])


def alarms(found: Coverage) -> Iterator[Alarm]:
    """What is missing and broken, as far as it is more than a little."""
    shares = found.shares
    if shares["missing"] > SMALL:
        yield Alarm(
            "coverage",
            f"{percent(shares['missing'])} of all answers are missing, never asked for "
            f"({_worst(found, 'missing')}).",
            "Run the same 'signalbox collect' again, it asks only what is missing; in an imported "
            "table these were not measured.",
        )
    yield from _alarms_of_reasons(found, shares=shares)
    if shares["no_reward"] > SMALL:
        yield Alarm(
            "coverage",
            f"{percent(shares['no_reward'])} of all answers have no reward from this scorer "
            f"({_worst(found, 'no_reward')}).",
            "Give the queries references that the scorer can use, or run it with 'signalbox "
            "collect --scorers' or '--labels'.",
        )
    yield from _alarms_of_truncated(found)


def _alarms_of_reasons(found: Coverage, *, shares: dict[str, float]) -> Iterator[Alarm]:
    """Cells that failed or could not be read, with the reason most of them have."""
    told = (
        (
            "error",
            0.0,
            "failed",
            "Run it again with --retry-errors once the cause is mended; errors count as missing, "
            "never as 0.",
        ),
        (
            "unparsable",
            SMALL,
            "have no reward because the scorer could not read them",
            "Look at some of these answers: mostly the prompt does not say which form is wanted, "
            "or max_tokens is too small.",
        ),
    )
    for kind, most, words, todo in told:
        if shares[kind] > most:
            often = found.reasons.filter(pl.col("what") == kind)["reason"][0]
            said = f"{percent(shares[kind])} of all answers {words} ({_worst(found, kind)})"
            yield Alarm("coverage", f"{said}, mostly for '{often}'.", todo)


def _worst(found: Coverage, kind: str) -> str:
    """The candidate with most cells of a kind, in words."""
    total = pl.sum_horizontal(KINDS)
    ranked = found.cells.with_columns(share=pl.col(kind) / total).sort("share", descending=True)
    return f"{percent(ranked['share'][0])} of {ranked['candidate'][0]}'s"


def _alarms_of_truncated(found: Coverage) -> Iterator[Alarm]:
    answered = pl.col("rewarded") + pl.col("truncated")
    share = pl.when(answered > 0).then(pl.col("truncated") / answered).otherwise(0.0)
    cut = found.cells.with_columns(share=share).filter(pl.col("share") > SMALL)
    if not cut.height:
        return
    cut = cut.sort("share", descending=True)
    who = listed(
        [f"{name} {percent(part)}" for name, part in cut.select("candidate", "share").rows()]
    )
    means = ""
    if found.reward_of_truncated is not None and found.reward_of_whole is not None:
        means = (
            f" Their mean reward is {found.reward_of_truncated:.2f}, that of the others "
            f"{found.reward_of_whole:.2f}."
        )
    yield Alarm(
        "coverage",
        f"Answers were cut off at their length limit: {who}.{means}",
        "Raise max_tokens, or let answers be extended once (extend), before a query counts as "
        "unsolvable.",
    )

"""What is seen of a shard beside its sums: kinds of query, drift, and queries that come back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.drift.counts import DriftCounts, count_shard, no_counts
from cluster.drift.drift import Drift, drift, refusal
from cluster.feedback.draw import draw_shard
from cluster.feedback.margin import margins
from cluster.policies.policy import Choices
from cluster.routing.kernel import Routing
from cluster.routing.score import Scores
from cluster.routing.spec import RouteSpec
from cluster.routing.summary import ShardSummary
from cluster.routing.tally import Tallies, tallies
from cluster.routing.texts import chats_of, queries_of

Rows = npt.NDArray[np.int64]


def observed(
    rows: pl.DataFrame,
    *,
    texts: pl.Series,
    scores: Scores,
    chosen: Choices,
    key: str,
    routing: Routing,
) -> dict[str, Any]:
    """Fields of `ShardSummary`: `tasks`, `clusters` and `drift`."""
    seen = Seen(scores, chosen, n_candidates=len(routing.candidates))
    tag = _task(rows, spec=routing.spec)
    found: dict[str, Any] = {"drift": None}
    if tag is not None and rows.height:
        found["tasks"] = seen.by(tag, rows=np.arange(rows.height))
    if routing.profile is not None:
        counts, looked, cluster = count_shard(texts, profile=routing.profile, shard=key)
        found["drift"] = counts.as_json()
        if len(looked):
            names = pl.Series(routing.profile.names, dtype=pl.String).gather(cluster)
            found["clusters"] = seen.by(names, rows=looked)
    return found


@dataclass(frozen=True)
class Seen:
    """A shard's scores and choices."""

    scores: Scores
    chosen: Choices
    n_candidates: int

    def by(self, tag: pl.Series, *, rows: Rows) -> Tallies:
        """Sums by tag over some of the rows, which stand for all."""
        picked = (rows, self.chosen[rows])
        frame = pl.DataFrame(
            {
                "tag": tag,
                "column": picked[1],
                "reward": self.scores.prediction.reward[picked],
                "cost": self.scores.cost[picked],
            }
        )
        stands_for = len(self.chosen) / len(rows)
        return tallies(frame, n_candidates=self.n_candidates, stands_for=stands_for)


def seen_drift(texts: pl.Series, *, key: str, routing: Routing) -> dict[str, Any]:
    """The field `drift` alone, for rows that nobody has chosen for yet."""
    if routing.profile is None:
        return {"drift": None}
    return {"drift": count_shard(texts, profile=routing.profile, shard=key)[0].as_json()}


def coming_back(
    rows: pl.DataFrame, *, scores: Scores, chosen: Choices, routing: Routing
) -> pl.DataFrame:
    """The queries of a shard that come back into the lake, `FEEDBACK_SCHEMA`."""
    return draw_shard(
        queries_of(rows, spec=routing.spec),
        margin=margins(scores.prediction.reward, allowed=scores.allowed),
        candidates=pl.Series(routing.candidates, dtype=pl.String).gather(chosen),
        share=routing.spec.feedback,
        chats=chats_of(rows),
    )


def _task(rows: pl.DataFrame, *, spec: RouteSpec) -> pl.Series | None:
    """(n_rows,) what the file says of the kind of query; None where it does not."""
    column = spec.task_column
    if column == spec.text_column or column not in rows.columns or rows[column].dtype.is_nested():
        return None
    return rows[column]


def file_drift(summaries: list[ShardSummary], *, routing: Routing) -> Drift | None:
    """The judgement on the whole file; None where the router has no profile."""
    if routing.profile is None:
        return None
    return drift(_counts(summaries, routing=routing), profile=routing.profile)


def file_refusal(summaries: list[ShardSummary], *, routing: Routing) -> str | None:
    """Why a promise about new queries does not hold for this file; None where nothing says so.

    Judged by the rows that the policy was calibrated on, where it tells where they lie.
    """
    profile = routing.profile
    if profile is None:
        return None
    counts = _counts(summaries, routing=routing)
    return refusal(counts, profile=profile, calibrated=routing.policy.calibrated_like)


def _counts(summaries: list[ShardSummary], *, routing: Routing) -> DriftCounts:
    assert routing.profile is not None, "asked only where there is one"
    total = no_counts(routing.profile)
    for summary in summaries:
        if summary.drift is not None:
            total = total + DriftCounts.of(summary.drift)
    return total

"""What is told of routed rows: of a shard by whoever routed it, of the file by adding those up.

So nothing has to be read a second time. Shards are added in the order of their rows, so that sums
have the same bits whoever routed which.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cluster.policies.policy import Choices
from cluster.routing.kernel import Routing
from cluster.routing.score import Scores
from cluster.routing.tally import Tally


class ShardSummary(BaseModel):
    """What became of one shard.

    Attributes:
        key: the shard's.
        rows: routed rows.
        broken: rows left out.
        json_columns: columns that hold JSON text of what was a list or an object in the file.
        fallbacks: rows that only the fallback may answer.
        explored: rows whose candidate was drawn.
        rule_rows: by rule, the rows it is about, those left out too.
        chosen: rows by candidate, in the order of the router's.
        reward: predicted, summed over the rows, of the candidates chosen; None where a row's is
            not known.
        reward_if_always: the same had each row gone to one candidate.
        cost_usd: predicted, summed; None where a row's is not known.
        cost_if_always: the same had each row gone to one candidate.
        tasks: by the task that the file names; nothing where it names none.
        clusters: by cluster of training queries; nothing where the router has no profile.
        drift: `cluster.drift.counts.DriftCounts`; None where the router has no profile.
        feedback: queries that come back.
        seconds: of a processor, spent on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    rows: int
    broken: int
    json_columns: tuple[str, ...] = ()
    fallbacks: int = 0
    explored: int = 0
    rule_rows: tuple[int, ...] = ()
    chosen: tuple[int, ...] = ()
    reward: float | None = 0.0
    reward_if_always: tuple[float | None, ...] = ()
    cost_usd: float | None = 0.0
    cost_if_always: tuple[float | None, ...] = ()
    tasks: dict[str, Tally] = Field(default_factory=dict)
    clusters: dict[str, Tally] = Field(default_factory=dict)
    drift: dict[str, Any] | None = None
    feedback: int = 0
    seconds: float = 0.0


def counted(scores: Scores, *, chosen: Choices) -> dict[str, Any]:
    """The fields of `ShardSummary` that tell of predictions and choices."""
    reward, picked = scores.prediction.reward, (np.arange(len(chosen)), chosen)
    return {
        "chosen": tuple(np.bincount(chosen, minlength=reward.shape[1]).tolist()),
        "reward": _known(reward[picked].sum()),
        "reward_if_always": tuple(map(_known, reward.sum(axis=0))),
        "cost_usd": _known(scores.cost[picked].sum()),
        "cost_if_always": tuple(map(_known, scores.cost.sum(axis=0))),
    }


def merged(summaries: Sequence[ShardSummary], *, routing: Routing) -> dict[str, Any]:
    """Rows, shares, predicted quality and cost, and the same for always using one candidate.

    None stands for what is not known of all rows.
    """
    rows = sum(summary.rows for summary in summaries)
    full = [summary for summary in summaries if summary.rows]
    per = 1 / max(rows, 1)
    columns = list(enumerate(routing.candidates))
    constraints = routing.spec.constraints
    return {
        "rows": rows,
        "shares": {name: sum(s.chosen[column] for s in full) * per for column, name in columns},
        "predicted_reward": _sum([s.reward for s in full], times=per),
        "predicted_reward_if_always": {
            name: _sum([s.reward_if_always[column] for s in full], times=per)
            for column, name in columns
        },
        "predicted_cost_usd": _sum([s.cost_usd for s in full]),
        "predicted_cost_usd_if_always": {
            name: _sum([s.cost_if_always[column] for s in full]) for column, name in columns
        },
        "policy_facts": routing.policy.facts(),
        "constraints": constraints.model_dump(mode="json", exclude_defaults=True),
        "fallbacks": sum(summary.fallbacks for summary in full),
        "explored": sum(summary.explored for summary in full),
        "rule_rows": [
            sum(summary.rule_rows[rule] for summary in summaries)
            for rule in range(len(constraints.rules))
        ],
    }


def _known(total: float) -> float | None:
    """None where a row's was not known: JSON has no NaN."""
    return None if math.isnan(total) else float(total)


def _sum(values: Sequence[float | None], *, times: float = 1.0) -> float | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) * times if len(known) == len(values) else None

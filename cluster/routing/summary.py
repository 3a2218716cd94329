"""What is told of routed rows: of a shard by whoever routed it, of the file by adding those up.

So nothing has to be read a second time. Shards are added in the order of their rows, so that sums
have the same bits whoever routed which.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from cluster.policies.policy import Choices
from cluster.routing.kernel import Routing
from cluster.routing.score import Scores


class ShardSummary(BaseModel):
    """What became of one shard.

    Attributes:
        key: the shard's.
        rows: routed rows.
        broken: rows left out.
        json_columns: columns that hold JSON text of what was a list or an object in the file.
        chosen: rows by candidate, in the order of the router's.
        reward: predicted, summed over the rows, of the candidates chosen.
        reward_if_always: the same had each row gone to one candidate.
        cost_usd: predicted, summed; None where a row's is not known.
        seconds: of a processor, spent on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    rows: int
    broken: int
    json_columns: tuple[str, ...] = ()
    chosen: tuple[int, ...] = ()
    reward: float = 0.0
    reward_if_always: tuple[float, ...] = ()
    cost_usd: float | None = 0.0
    seconds: float = 0.0


def counted(scores: Scores, *, chosen: Choices) -> dict[str, Any]:
    """The fields of `ShardSummary` that tell of predictions and choices."""
    reward, picked = scores.prediction.reward, (np.arange(len(chosen)), chosen)
    cost = float(scores.cost[picked].sum())
    return {
        "chosen": tuple(np.bincount(chosen, minlength=reward.shape[1]).tolist()),
        "reward": float(reward[picked].sum()),
        "reward_if_always": tuple(reward.sum(axis=0).tolist()),
        "cost_usd": None if math.isnan(cost) else cost,
    }


def merged(summaries: Sequence[ShardSummary], *, routing: Routing) -> dict[str, Any]:
    """Rows, shares, predicted quality and cost, and the same for always using one candidate."""
    rows = sum(summary.rows for summary in summaries)
    full = [summary for summary in summaries if summary.rows]
    costs = [summary.cost_usd for summary in full if summary.cost_usd is not None]
    per = 1 / max(rows, 1)
    columns = list(enumerate(routing.candidates))
    return {
        "rows": rows,
        "shares": {name: sum(s.chosen[column] for s in full) * per for column, name in columns},
        "predicted_reward": sum(summary.reward for summary in full) * per,
        "predicted_reward_if_always": {
            name: sum(s.reward_if_always[column] for s in full) * per for column, name in columns
        },
        "predicted_cost_usd": sum(costs) if len(costs) == len(full) else None,
        "policy_facts": routing.policy.facts(),
    }

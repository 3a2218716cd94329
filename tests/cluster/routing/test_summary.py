"""What is told of a shard, where a candidate's reward is not known of a row."""

import json

import numpy as np
import polars as pl

from cluster.routers.router import Prediction
from cluster.routing.score import Scores
from cluster.routing.summary import ShardSummary, counted
from cluster.routing.tally import added, as_rows, tallies


def test_what_is_not_known_of_a_row_is_none_in_the_sums_and_comes_back_so():
    nan = float("nan")
    reward = np.array([[0.5, nan], [0.25, 1.0]])
    scores = Scores(Prediction(reward, reward), np.array([[1.0, nan], [2.0, 4.0]]))
    told = counted(scores, chosen=np.array([0, 1]))
    assert told["reward"] == 1.5
    assert told["reward_if_always"] == (0.75, None)
    assert told["cost_if_always"] == (3.0, None)
    unknown = counted(scores, chosen=np.array([1, 1]))
    assert unknown["reward"] is None
    summary = ShardSummary(key="0-1", rows=2, broken=0, **unknown)
    kept = summary.model_dump_json()
    assert ShardSummary.model_validate_json(kept) == summary


def test_a_tag_with_an_unknown_reward_has_none():
    rows = pl.DataFrame(
        {"tag": ["a", "a", "b"], "column": [0, 1, 0], "reward": [1.0, float("nan"), 0.5]}
    ).with_columns(cost=pl.lit(1.0))
    told = as_rows(added([tallies(rows, n_candidates=2)] * 2), candidates=("x", "y"))
    assert {one["tag"]: one["predicted_reward"] for one in told} == {"a": None, "b": 0.5}
    assert json.loads(json.dumps(told, allow_nan=False)) == told

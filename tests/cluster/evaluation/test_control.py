"""Shuffled labels teach nothing; a query that was trained on is found."""

import numpy as np

from cluster.evaluation.control import shuffled
from cluster.routers.predicted_task import PredictedTask


def test_rows_move_as_a_whole_and_nothing_is_lost(make) -> None:
    reward = np.random.default_rng(0).random((50, 3))
    reward[7, 1] = np.nan
    outcomes = make(reward, ["x"] * 25 + ["y"] * 25)
    found = shuffled(outcomes, seed=1)
    assert not np.array_equal(found.reward, outcomes.reward, equal_nan=True)
    assert sorted(map(str, found.reward.tolist())) == sorted(map(str, outcomes.reward.tolist()))
    assert found.queries.equals(outcomes.queries)
    assert np.array_equal(shuffled(outcomes, seed=1).reward, found.reward, equal_nan=True)
    assert not np.array_equal(shuffled(outcomes, seed=2).reward, found.reward, equal_nan=True)


def test_a_method_that_finds_the_tasks_finds_nothing_in_shuffled_labels(make) -> None:
    tasks = np.array(["sums", "names"] * 100)
    reward = np.eye(2)[(tasks == "names").astype(int)]
    outcomes = make(reward, tasks)
    texts = [f"{task} question {row}" for row, task in enumerate(tasks)]
    outcomes = type(outcomes)(
        **{**vars(outcomes), "queries": outcomes.queries.with_columns(text=np.array(texts))}
    )

    def advantage(train) -> float:
        said = PredictedTask().fit(train, seed=0).predict(outcomes.texts).reward
        return float((said * reward).sum(axis=1).mean() - 0.5)

    assert advantage(outcomes) > 0.45
    assert abs(advantage(shuffled(outcomes, seed=0))) < 0.1

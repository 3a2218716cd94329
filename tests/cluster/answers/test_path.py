"""What is expected of a cascade is what happens if every answer is as good as expected."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.answers.blocks import as_columns
from cluster.answers.path import expected_path
from cluster.answers.round import escalated, judged
from cluster.policies.cascade import Cascade
from cluster.routers.router import Prediction
from cluster.routing.score import Scores

SHAPES = st.tuples(st.integers(1, 5), st.integers(2, 4))
LEVELS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def cases(draw) -> tuple[Scores, Cascade]:
    shape = draw(SHAPES)
    reward = draw(arrays(float, shape, elements=LEVELS))
    cost = draw(arrays(float, shape, elements=st.sampled_from([1.0, 2.0, 3.0])))
    allowed = draw(arrays(bool, shape))
    allowed[np.arange(shape[0]), draw(arrays(int, shape[0], elements=st.integers(0, 1)))] = True
    scores = Scores(Prediction(reward, np.ones(shape)), cost, allowed)
    return scores, Cascade(accept_from=draw(LEVELS))


@given(cases())
def test_the_path_is_who_is_asked_when_answers_are_as_expected(case) -> None:
    scores, policy = case
    n, m = scores.cost.shape
    texts = pl.Series([f"text {row}" for row in range(n)])
    first, path = expected_path(texts, scores=scores, policy=policy)
    blocks = {"reward": scores.prediction.reward, "tokens": scores.prediction.completion_tokens}
    blocks |= {"cost": scores.cost, "allowed": scores.allowed}
    calls = pl.DataFrame({"row": range(n), "query": texts, "column": first, **as_columns(blocks)})
    calls = calls.with_columns(outcome=pl.lit("ok"))
    asked = np.zeros((n, m), dtype=bool)
    turns = 0
    while calls.height:
        rows, columns = calls["row"].to_numpy(), calls["column"].to_numpy()
        assert not asked[rows, columns].any(), "nobody is asked twice"
        assert scores.allowed[rows, columns].all(), "nobody who may not be is asked"
        asked[rows, columns] = True
        expected = scores.prediction.reward[rows]
        calls = escalated(
            judged(calls, reward=expected), policy=policy, ids=[f"c{k}" for k in range(m)]
        )
        turns += 1
    assert turns <= m
    assert (asked == path).all()
    last_cost = np.where(path, scores.cost, -np.inf).max(axis=1)
    assert (scores.cost[np.arange(n), first] <= last_cost).all(), "the cheapest comes first"

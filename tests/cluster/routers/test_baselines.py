import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers import best_single, random, task_lookup
from cluster.routers.best_single import BestSingle
from cluster.routers.random import Random

NAN = float("nan")


@pytest.fixture
def lopsided(make_outcomes):
    """Eight easy rows where the first leads a little, two hard ones, the second by a lot."""
    reward = [[1.0, 0.8]] * 8 + [[0.0, 1.0]] * 2
    texts = [f"text {row}" for row in range(10)]
    return make_outcomes(texts, ["easy"] * 8 + ["hard"] * 2, reward)


def test_best_single_counts_tasks_and_not_rows(lopsided):
    assert lopsided.reward.mean(axis=0) == pytest.approx([0.8, 0.84])
    router = BestSingle().fit(lopsided.take(np.array([*range(8), 0, 1, 2, 3, 8])), seed=0)
    assert router.reward == pytest.approx([0.5, 0.9])
    assert best_single.choose(lopsided, lopsided).tolist() == [1] * 10


def test_best_single_predicts_alike_for_every_query(lopsided):
    prediction = BestSingle().fit(lopsided, seed=0).predict(pl.Series(["a", "b", "c"]))
    assert prediction.reward == pytest.approx(np.tile([0.5, 0.9], (3, 1)))
    assert np.isnan(prediction.completion_tokens).all()


def test_task_lookup_reads_the_label_and_falls_back_to_best_single(lopsided, make_outcomes):
    asked = make_outcomes(["a", "b", "c"], ["easy", "hard", "new"], np.zeros((3, 2)))
    assert task_lookup.choose(lopsided, asked).tolist() == [0, 1, 1]


def test_task_lookup_without_any_reward_on_a_task(lopsided, make_outcomes):
    lopsided.reward[:8] = NAN
    lopsided.reward[8, 0] = 0.0
    asked = make_outcomes(["a"], ["easy"], np.zeros((1, 2)))
    assert task_lookup.choose(lopsided, asked).tolist() == [1]


def test_random_is_even_and_depends_on_text_and_seed_alone(lopsided):
    texts = pl.Series([f"query {n}" for n in range(4000)])
    first, again, other = (
        Random().fit(lopsided, seed=seed).predict(texts).reward for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert (first != other).all()
    assert ((first >= 0) & (first < 1)).all()
    # 4,000 fair coins stray by more than 0.04 once in four million times.
    assert first.argmax(axis=1).mean() == pytest.approx(0.5, abs=0.04)
    shuffled = Random().fit(lopsided, seed=1).predict(texts.reverse()).reward
    assert np.array_equal(shuffled[::-1], first)


def test_random_draws_are_what_they_were_when_this_was_written():
    drawn = random.draws(pl.Series(["what is 2 plus 2?"]), seed=0, n_columns=2)
    assert drawn[0] == pytest.approx([0.7931316082938606, 0.5060605755135696], abs=1e-15)


@pytest.mark.parametrize("method", [Random(), BestSingle()])
def test_no_rows_are_refused(method, lopsided):
    with pytest.raises(InputError, match="no training rows"):
        method.fit(lopsided.take(np.array([], dtype=np.int64)), seed=0)

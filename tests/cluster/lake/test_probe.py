import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.lake.probe import choose_probe, disagreement, even_quotas
from cluster.outcome import OutcomeMatrix


def outcomes_of(tasks, reward, split="train", texts=None):
    reward = np.asarray(reward, dtype=np.float64)
    n = len(tasks)
    unknown = np.full(reward.shape, np.nan)
    splits = [split] * n if isinstance(split, str) else split
    queries = pl.DataFrame(
        {
            "query_id": [f"q{row}" for row in range(n)],
            "dataset": ["made-up"] * n,
            "task": list(tasks),
            "split": splits,
            "text": texts or [f"text {row}" for row in range(n)],
            "sampling_probability": [1.0] * n,
        }
    )
    names = tuple("abcdefg"[: reward.shape[1]])
    cells = (reward, unknown, unknown, unknown, np.ones_like(reward), np.zeros_like(reward))
    return OutcomeMatrix(queries, names, names, *cells)


def made_up(n=400, seed=0, **more):
    """Three tasks of different size, six kinds of query; on kind 0 the candidates disagree."""
    rng = np.random.default_rng(seed)
    tasks = np.where(np.arange(n) < n * 0.7, "large", "middle")
    tasks = np.where(np.arange(n) < n * 0.05, "small", tasks)
    kind = rng.integers(6, size=n)
    vectors = (np.eye(8)[kind] + 0.05 * rng.standard_normal((n, 8))).astype(np.float32)
    disputed = rng.random((n, 3)) < 0.5
    reward = np.where(kind[:, None] == 0, disputed, kind[:, None] % 2).astype(float)
    return outcomes_of(tasks, reward, **more), vectors, kind


def test_it_is_even_over_tasks_and_over_the_kinds_of_query():
    outcomes, vectors, kind = made_up()
    probe = choose_probe(outcomes, vectors=vectors, size=90, seed=0)
    assert len(probe) == 90
    sizes = dict(probe.queries["task"].value_counts().iter_rows())
    assert sizes == {"small": 20, "large": 35, "middle": 35}
    asked = kind[[int(name[1:]) for name in probe.queries["query_id"]]]
    assert (np.bincount(asked, minlength=6) >= 8).all()


def test_where_candidates_disagree_is_asked_more_often_and_counts_less():
    rng = np.random.default_rng(0)
    reward = np.where(np.arange(200)[:, None] % 10 == 0, [[0.0, 1.0]], [[1.0, 1.0]])
    vectors = rng.standard_normal((200, 4)).astype(np.float32)
    outcomes = outcomes_of(["t"] * 200, reward)
    probe = choose_probe(outcomes, vectors=vectors, size=40, seed=0)
    disputed = probe.reward[:, 0] == 0.0
    assert disputed.mean() > 0.25
    weight = 1 / probe.queries["sampling_probability"].to_numpy()
    assert abs(np.average(disputed, weights=weight) - 0.1) < abs(disputed.mean() - 0.1) / 2


@given(
    n=st.integers(5, 120),
    size=st.integers(1, 150),
    seed=st.integers(0, 5),
)
def test_the_drawn_speak_for_all_and_none_is_drawn_twice(n, size, seed):
    outcomes, vectors, _ = made_up(n=n, seed=seed)
    probe = choose_probe(outcomes, vectors=vectors, size=size, seed=seed)
    assert len(probe) == min(size, n)
    assert probe.queries["query_id"].is_unique().all()
    share = probe.queries["sampling_probability"].to_numpy()
    assert ((share > 0) & (share <= 1)).all()
    if size >= 3 * 4:  # at least one of every task and cluster
        assert (1 / share).sum() == pytest.approx(n)


def test_equal_input_and_seed_choose_equal_queries():
    outcomes, vectors, _ = made_up()
    first, again, other = (
        choose_probe(outcomes, vectors=vectors, size=50, seed=seed).queries for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_only_scored_rows_of_train_and_validation_are_chosen_each_text_once():
    splits = ["train", "validation", "calibration", "test"] * 5
    reward = np.ones((20, 2))
    reward[4:8] = np.nan
    texts = [f"text {row}" if row != 12 else "text 0" for row in range(20)]
    outcomes = outcomes_of(["t"] * 20, reward, split=splits, texts=texts)
    vectors = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    probe = choose_probe(outcomes, vectors=vectors, size=100, seed=0)
    assert sorted(probe.queries["query_id"]) == sorted(
        f"q{row}" for row in (0, 1, 8, 9, 13, 16, 17)
    )


def test_a_bias_the_queries_were_picked_with_stays_in_their_probability():
    outcomes, vectors, _ = made_up(n=40)
    halved = OutcomeMatrix(
        **{
            **vars(outcomes),
            "queries": outcomes.queries.with_columns(sampling_probability=pl.lit(0.5)),
        }
    )
    whole, half = (
        choose_probe(each, vectors=vectors, size=20, seed=0).queries["sampling_probability"]
        for each in (outcomes, halved)
    )
    assert half.to_list() == pytest.approx((whole / 2).to_list())


@pytest.mark.parametrize(("split", "size"), [("test", 10), ("train", 0)])
def test_nothing_to_choose_is_told(split, size):
    outcomes, vectors, _ = made_up(n=20, split=split)
    with pytest.raises(InputError, match="no query to probe a candidate with"):
        choose_probe(outcomes, vectors=vectors, size=size, seed=0)


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8), size=st.integers(0, 100))
def test_quotas_are_even_as_far_as_there_is_enough(sizes, size):
    quotas = even_quotas(sizes, size=size)
    assert sum(quotas) == min(size, sum(sizes))
    assert all(0 <= quota <= have for quota, have in zip(quotas, sizes, strict=True))
    open_quotas = [q for q, have in zip(quotas, sizes, strict=True) if q < have]
    assert not open_quotas or max(quotas) - min(open_quotas) <= 1


def test_disagreement_is_the_variance_of_what_is_known():
    reward = np.array([[0.0, 1.0, np.nan], [1.0, 1.0, 1.0], [np.nan] * 3, [0.5, np.nan, np.nan]])
    assert disagreement(reward) == pytest.approx([0.25, 0.0, 0.0, 0.0])

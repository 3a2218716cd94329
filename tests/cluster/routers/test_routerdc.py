import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cluster.errors import InputError
from cluster.routers import routerdc as module
from cluster.routers.routerdc import RouterDC, group_queries, places

VALUES = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 7)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan]),
)


@given(VALUES, st.integers(1, 8))
def test_places_are_shared_out_whole(values, n_places):
    shares = places(values, n_places=n_places)
    known = ~np.isnan(values)
    assert shares.sum(axis=1) == pytest.approx(np.minimum(n_places, known.sum(axis=1)))
    assert ((shares >= 0) & (shares <= 1)).all()
    assert not shares[~known].any()


@given(VALUES, st.integers(1, 8))
def test_equals_share_and_the_better_comes_first(values, n_places):
    for row, shares in zip(values.tolist(), places(values, n_places=n_places), strict=True):
        for one, its in zip(row, shares, strict=True):
            for other, another in zip(row, shares, strict=True):
                if one == other:
                    assert its == another
                if one > other and another > 0:
                    assert its == 1


def test_a_share_is_the_chance_of_a_fair_draw():
    """Among three that tie for two places left, each has them in two of three draws."""
    shares = places(np.array([[1.0, 0.5, 0.5, 0.5, 0.0]]), n_places=3)
    assert shares[0] == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 0])


def labels(make_outcomes, reward, **settings):
    reward = np.array(reward)
    outcomes = make_outcomes([f"q{n}" for n in range(len(reward))], ["t"] * len(reward), reward)
    vectors = np.random.default_rng(0).normal(size=(len(reward), 4)).astype(np.float32)
    return RouterDC(**settings).labels(outcomes, outcomes, vectors=(vectors, vectors), seed=0)[0]


def test_who_counts_as_best_and_as_worst(make_outcomes):
    found = labels(make_outcomes, [[1.0, 0.6, 0.0]], n_positive=2, n_negative=2)
    assert found["positive"].tolist() == [[1, 1, 0]]
    # 0.6 is among the two worst, and too good to be a negative.
    assert found["negative"].tolist() == [[0, 0, 1]]


def test_a_reward_of_0_is_never_a_positive(make_outcomes):
    found = labels(make_outcomes, [[0.0, 0.0, 0.2]], n_positive=2, n_negative=2)
    assert found["positive"].tolist() == [[0, 0, 1]]
    assert found["negative"].tolist() == [[1, 1, 0]]


def test_a_missing_cell_is_neither(make_outcomes):
    found = labels(make_outcomes, [[1.0, np.nan, 0.0]], n_positive=3, n_negative=3)
    assert found["positive"].tolist() == [[1, 0, 0]]
    assert found["negative"].tolist() == [[0, 0, 1]]
    assert np.isfinite(found["reward"]).all()


def test_rewards_are_from_0_to_1(make_outcomes):
    with pytest.raises(InputError, match="candidate 'roman': reward 2, expected 0 to 1"):
        labels(make_outcomes, [[1.0, 0.0], [0.5, 2.0]])


def blobs(n, seed=0):
    """Vectors around three points far from each other, and which of them."""
    rng = np.random.default_rng(seed)
    which = np.arange(n) % 3
    centres = 10 * np.eye(3, 5)
    return (centres[which] + rng.normal(size=(n, 5))).astype(np.float32), which


def same(groups):
    return groups[:, None] == groups[None, :]


@pytest.mark.parametrize("laid_out", [2_000, 100])
def test_groups_are_those_of_the_vectors(laid_out, monkeypatch):
    """Also where only some rows are laid out and the others join the nearest group."""
    monkeypatch.setattr(module, "MAX_LAID_OUT", laid_out)
    (train, of_train), (validation, of_validation) = blobs(240), blobs(60, seed=1)
    groups = group_queries((train, validation), n_groups=3, seed=0)
    assert np.array_equal(same(groups[0]), same(of_train))
    assert np.array_equal(same(groups[1]), same(of_validation))
    both, which = np.concatenate(groups), np.concatenate([of_train, of_validation])
    assert np.array_equal(same(both), same(which))


def test_groups_are_cut_in_the_plane(monkeypatch):
    """Also where a row's vector lies nearer to another group's mean."""
    vectors, _ = blobs(60)
    sides = (np.arange(60) % 2).astype(np.float32)
    monkeypatch.setattr(module, "lay_out", lambda rows, seed: np.stack([sides, sides], axis=1))
    groups = group_queries((vectors, vectors[:1]), n_groups=2, seed=0)[0]
    assert np.array_equal(same(groups), same(sides))


def test_equal_seeds_group_alike():
    vectors = blobs(150)[0], blobs(20, seed=1)[0]
    first, again = (group_queries(vectors, n_groups=4, seed=7) for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


@pytest.mark.parametrize("n", [1, 3, 200])
def test_vectors_that_are_all_equal_are_one_group(n):
    vectors = np.ones((n, 4), np.float32)
    train, validation = group_queries((vectors, vectors[:1]), n_groups=5, seed=0)
    assert len(set(train.tolist())) == 1
    assert validation[0] == train[0]


def test_without_the_sample_loss_there_are_no_groups(make_outcomes, monkeypatch):
    monkeypatch.setattr(module, "group_queries", None)
    assert labels(make_outcomes, [[1.0, 0.0]], sample_weight=0)["group"].tolist() == [0]


def test_the_ranking_is_that_of_the_cosines(make_two_tasks):
    rows = make_two_tasks(120)
    router = RouterDC(epochs=2, hidden=8).fit(rows, seed=0)
    asked = pl.Series(["What is 1 plus 2?", "Write 9 as a Roman numeral"])
    queries, candidates = router.embed(asked), router.head["candidates"]
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(candidates, axis=1)
    cosines = queries @ candidates.T / norms
    order = np.argsort(cosines, axis=1)
    assert np.array_equal(np.argsort(router.predict(asked).reward, axis=1), order)

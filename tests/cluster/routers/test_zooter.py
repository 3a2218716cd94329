import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cluster.routers.zooter import (
    Zooter,
    among_known,
    enhance,
    measure,
    reward_distribution,
    tag_distributions,
)

REWARDS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.one_of(st.floats(-100, 100), st.just(np.nan)),
)
SCALES = ["none", "z_score", "min_max", "centred"]
TINY = 1e-300


def distribution(reward, *, kind="none", temperature=1.0):
    reward = np.asarray(reward, dtype=float)
    scale = measure(reward, kind=kind)
    return reward_distribution(reward, kind=kind, scale=scale, temperature=temperature)


def tags(*rows):
    return pl.Series(rows, dtype=pl.List(pl.String))


@given(REWARDS, st.sampled_from(SCALES), st.sampled_from([TINY, 0.01, 1.0, 50.0]))
def test_known_cells_share_one_and_unknown_have_none(reward, kind, temperature):
    reward[0, 0] = 1.0
    shares = distribution(reward, kind=kind, temperature=temperature)
    known = ~np.isnan(reward)
    assert shares.sum(axis=1) == pytest.approx(known.any(axis=1).astype(float))
    assert (shares >= 0).all()
    assert not shares[~known].any()


def test_it_is_the_softmax_of_the_rewards():
    shares = distribution([[1.0, 2.0, 4.0]], temperature=2.0)
    powers = np.exp([0.5, 1.0, 2.0])
    assert shares[0] == pytest.approx(powers / powers.sum())


@pytest.mark.parametrize("kind", SCALES)
def test_without_temperature_the_winner_takes_all(kind):
    shares = distribution([[0.2, 0.9, 0.5], [0.7, 0.7, 0.1]], kind=kind, temperature=TINY)
    assert shares == pytest.approx(np.array([[0, 1, 0], [0.5, 0.5, 0]]))


@given(REWARDS, st.floats(0.5, 20), st.floats(-50, 50))
def test_scaled_rewards_have_no_unit(reward, factor, offset):
    """As a reward model's, whose unit is its own."""
    reward = reward.round(1)
    reward[0, 0] = 1.0
    for kind in ("z_score", "min_max"):
        first, other = (distribution(r, kind=kind) for r in (reward, reward * factor + offset))
        assert first == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("kind", SCALES)
def test_equal_rewards_are_shared_alike(kind):
    assert distribution(np.full((3, 4), 0.7), kind=kind) == pytest.approx(np.full((3, 4), 0.25))


def test_a_tag_has_the_mean_of_its_queries():
    shares = np.array([[0.8, 0.2], [0.4, 0.6], [0.0, 1.0]])
    carried = tags(["a"], ["a", "b"], ["b"])
    found = tag_distributions(shares, known=shares >= 0, tags=carried)
    assert found["a"] == pytest.approx([0.6, 0.4])
    assert found["b"] == pytest.approx([0.2, 0.8])


def test_a_tags_mean_is_over_what_is_known():
    """A candidate that is seldom asked is no worse for it."""
    reward = np.array([[0.5, 0.5, np.nan, np.nan]] * 9 + [[0.5] * 4])
    found = tag_distributions(
        distribution(reward), known=~np.isnan(reward), tags=tags(*[["a"]] * 10)
    )
    assert found["a"] == pytest.approx([0.25] * 4)


def test_queries_without_rewards_say_nothing_of_their_tags():
    reward = np.array([[1.0, 0.0], [np.nan, np.nan]])
    known = ~np.isnan(reward)
    found = tag_distributions(distribution(reward), known=known, tags=tags(["a"], ["a", "b"]))
    assert found["a"] == pytest.approx(distribution(reward)[0])
    assert "b" not in found


OWN = np.array([[0.9, 0.1]])
BY_TAG = {"a": np.array([0.6, 0.4]), "b": np.array([0.2, 0.8])}


@pytest.mark.parametrize(
    ("carried", "beta", "expected"),
    [
        (["a", "b"], 1.0, [0.9, 0.1]),
        (["a", "b"], 0.0, [0.4, 0.6]),
        (["a", "b"], 0.3, [0.3 * 0.9 + 0.7 * 0.4, 0.3 * 0.1 + 0.7 * 0.6]),
        (["a", "never seen"], 0.0, [0.6, 0.4]),
        (["never seen"], 0.0, [0.9, 0.1]),
        ([], 0.0, [0.9, 0.1]),
        (None, 0.0, [0.9, 0.1]),
    ],
)
def test_a_querys_distribution_is_mixed_with_its_tags(carried, beta, expected):
    found = enhance(OWN, tags=tags(carried), by_tag=BY_TAG, beta=beta)
    assert found[0] == pytest.approx(expected)


def test_no_tag_at_all_changes_nothing():
    assert enhance(OWN, tags=tags(["a"]), by_tag={}, beta=0.0) == pytest.approx(OWN)


def test_a_query_without_rewards_has_those_of_its_tags():
    found = enhance(np.zeros((1, 2)), tags=tags(["a"]), by_tag=BY_TAG, beta=0.9)
    assert found[0] == pytest.approx([0.6, 0.4])


def test_shares_are_among_the_known():
    shares = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    known = np.array([[True, False, True], [False] * 3, [True, False, True]])
    found = among_known(shares, known=known)
    assert found["share"] == pytest.approx(np.array([[5 / 7, 0, 2 / 7], [0.5, 0.3, 0.2], [0] * 3]))
    assert found["known"].tolist() == [[1, 0, 1], [1, 1, 1], [1, 0, 1]]


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_labels_are_distributions(make_outcomes, seed, beta):
    rng = np.random.default_rng(seed)
    reward = rng.random((12, 3)).round(1)
    reward[rng.random((12, 3)) < 0.4] = np.nan
    reward[0] = 0.5
    rows = make_outcomes([f"q{n}" for n in range(12)], [f"t{n % 3}" for n in range(12)], reward)
    none = np.zeros((12, 1), np.float32)
    train, validation = Zooter(beta=beta).labels(rows, rows, vectors=(none, none), seed=0)
    for labels in (train, validation):
        total = labels["share"].sum(axis=1)
        # A task none of whose queries has a reward leaves its queries without a distribution.
        assert np.isclose(total, np.where(total > 0, 1, 0), atol=1e-6).all()
        assert (total[rows.mask.any(axis=1)] > 0).all()
        assert not labels["share"][labels["known"] == 0].any()


def test_validation_is_scaled_and_enhanced_by_train_alone(make_outcomes):
    train = make_outcomes(["a", "b"], ["t", "t"], [[0.0, 1.0], [0.0, 1.0]])
    texts, tasks = ["c", "d"], ["t", "u"]
    none = np.zeros((2, 1), np.float32)

    def of_validation(reward):
        rows = make_outcomes(texts, tasks, reward)
        return Zooter(beta=0.5).labels(train, rows, vectors=(none, none), seed=0)[1]["share"]

    first, other = of_validation([[1.0, 0.0], [0.0, 3.0]]), of_validation([[1.0, 0.0], [9.0, 9.0]])
    assert np.array_equal(first[0], other[0])
    # Rewards of train are .5 ± .5. Of another task than any in train, a query has its own alone.
    assert first[1] == pytest.approx(np.exp([-1, 5]) / np.exp([-1, 5]).sum())
    mixed = 0.5 * np.exp([1, -1]) + 0.5 * np.exp([-1, 1])
    assert first[0] == pytest.approx(mixed / np.exp([-1, 1]).sum())

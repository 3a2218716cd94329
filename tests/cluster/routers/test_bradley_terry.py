import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from cluster.routers.bradley_terry import strengths


def loss(xi, *, wins, ties):
    """Written out pair by pair."""
    total = 0.0
    for i in range(len(xi)):
        for j in range(len(xi)):
            if i != j:
                total += (wins[i, j] + ties / 2) * np.log1p(np.exp(xi[j] - xi[i]))
    return total


def minimised(wins, *, ties):
    """By a general solver, one set at a time."""
    n = len(wins)
    found = minimize(
        lambda free: loss(np.append(free, -free.sum()), wins=wins, ties=ties),
        np.zeros(n - 1),
        method="BFGS",
        options={"gtol": 1e-9, "maxiter": 2000},
    ).x
    return np.append(found, -found.sum())


@pytest.mark.parametrize("ties", [0.01, 1.0])
def test_four_players_are_where_a_solver_puts_them(ties):
    wins = np.random.default_rng(0).gamma(0.7, 3.0, size=(20, 4, 4))
    found = strengths(wins, ties=ties)
    expected = np.stack([minimised(each, ties=ties) for each in wins])
    assert found == pytest.approx(expected, abs=1e-6)


@given(
    wins=st.lists(
        st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e5)), min_size=9, max_size=9),
        min_size=1,
        max_size=4,
    ),
    start=st.lists(st.floats(-8, 8), min_size=3, max_size=3),
)
def test_the_strengths_balance_wins_and_chances(wins, start):
    wins = np.array(wins).reshape(-1, 3, 3)
    found = strengths(wins, ties=0.5, start=np.array(start))
    assert found.sum(axis=1) == pytest.approx(0, abs=1e-6)
    counts = (wins + 0.25) * (1 - np.eye(3))
    chance = 1 / (1 + np.exp(found[:, None, :] - found[:, :, None]))
    won = counts.sum(axis=2)
    expected = ((counts + counts.transpose(0, 2, 1)) * chance).sum(axis=2)
    assert expected == pytest.approx(won, rel=1e-6, abs=1e-6)


def test_two_players_have_the_log_odds_of_their_shares():
    wins = np.array([[[0.0, 3.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = strengths(wins, ties=1e-9)
    assert found[:, 0] - found[:, 1] == pytest.approx([np.log(3), 0.0], abs=1e-6)


def test_a_set_has_its_strengths_in_any_company():
    wins = np.random.default_rng(1).gamma(0.5, 5.0, size=(30, 5, 5))
    together = strengths(wins, ties=0.1)
    assert np.array_equal(together[7:8], strengths(wins[7:8], ties=0.1))


def test_who_never_lost_is_ahead_and_finite():
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1:] = 1e6
    found = strengths(wins, ties=1e-3)[0]
    assert np.isfinite(found).all()
    assert found[0] > found[1] + 10
    assert found[1] == pytest.approx(found[2])


def test_wins_of_all_sizes_and_a_start_far_off_have_strengths():
    rng = np.random.default_rng(0)
    wins = rng.gamma(0.2, 1e6, size=(3000, 3, 3)) * (rng.random((3000, 3, 3)) < 0.2)
    start = rng.normal(0, 25, size=(3000, 3))
    found, near = strengths(wins, ties=1e-3, start=start), strengths(wins, ties=1e-3)
    assert found == pytest.approx(near, abs=0.01)


def test_one_player_has_no_strength():
    assert strengths(np.ones((4, 1, 1)), ties=1.0).tolist() == [[0.0]] * 4

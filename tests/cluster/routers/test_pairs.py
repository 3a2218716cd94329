import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cluster.errors import InputError
from cluster.routers.pairs import compare
from cluster.routers.similarity_weighted import SimilarityWeighted

NAN = float("nan")
REWARDS = st.one_of(st.sampled_from([0.0, 1.0, NAN]), st.floats(0, 1))


def of(make_outcomes, reward):
    n = len(reward)
    return make_outcomes([f"text {row}" for row in range(n)], ["t"] * n, reward)


def test_ties_are_half_wins_of_either_kind(make_outcomes):
    found = compare(of(make_outcomes, [[1, 0], [0, 1], [1, 1], [0, 0], [0.7, 0.4]]))
    assert found.target == pytest.approx([1, 0, 0.5, 0.5, 0.65])
    assert found.weight.tolist() == [1] * 5


def test_only_what_both_are_known_of_is_compared(make_outcomes):
    found = compare(of(make_outcomes, [[1, NAN, 0], [NAN, 1, NAN], [NAN, 0, 1]]))
    assert list(zip(found.row, found.a, found.b, found.target, strict=True)) == [
        (0, 0, 2, 1.0),
        (2, 1, 2, 0.0),
    ]
    assert (found.n_rows, found.n_players) == (3, 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reward=arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=REWARDS))
def test_wins_are_those_of_every_two_cells(make_outcomes, reward):
    reward[0, :2] = 1.0
    wins = compare(of(make_outcomes, reward)).wins_by_row()
    for row, known in enumerate(~np.isnan(reward)):
        for a in range(3):
            for b in range(3):
                if a == b or not (known[a] and known[b]):
                    assert wins[row, a, b] == 0
                else:
                    expected = (1 + reward[row, a] - reward[row, b]) / 2
                    assert wins[row, a, b] == pytest.approx(expected)


def test_rewards_beyond_one_are_refused(make_outcomes):
    with pytest.raises(InputError, match=r"'train-1'.*'adder' and 'roman' differ by 8.*min_max"):
        compare(of(make_outcomes, [[1, 0], [1, 9]]))


def test_nothing_to_compare_is_refused(make_outcomes):
    with pytest.raises(InputError, match="rewards of two candidates"):
        compare(of(make_outcomes, [[1, NAN, NAN], [NAN, 1, NAN], [NAN, NAN, 1]]))


def test_one_candidate_meets_nobody(make_outcomes):
    assert len(compare(of(make_outcomes, [[1.0], [0.0]]))) == 0


def test_a_pair_has_the_strong_one_first(make_two_tasks):
    three = make_two_tasks(20)
    named = SimilarityWeighted(strong="both", weak="adder")
    assert named.narrowed(three).candidates == ("both", "adder")
    assert SimilarityWeighted().narrowed(three).candidates == three.candidates
    with pytest.raises(InputError, match="'strong': no candidate 'gpt'"):
        SimilarityWeighted(strong="gpt", weak="adder").narrowed(three)


def test_of_two_the_better_is_first(make_outcomes):
    two = of(make_outcomes, [[0, 1], [1, 1], [0, 0]])
    assert SimilarityWeighted().narrowed(two).candidates == ("roman", "adder")

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers.gain import Gain
from cluster.routers.strong_weak import half_win, on_candidates, pair_columns, pair_prediction

NAN = float("nan")


@pytest.fixture
def two(make_outcomes):
    """`roman` is better on average over the two tasks, `adder` on average over rows."""
    reward = [[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 2 + [[0.0, 1.0]] * 2
    texts = [f"question number {row}" for row in range(10)]
    return make_outcomes(texts, ["easy"] * 6 + ["easy"] * 2 + ["hard"] * 2, reward)


@pytest.fixture
def three(make_two_tasks):
    return make_two_tasks(40)


def test_the_better_over_tasks_is_strong(two):
    assert two.reward.mean(axis=0) == pytest.approx([0.6, 0.4])
    assert pair_columns(two, strong="", weak="") == [1, 0]


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ({"strong": "adder", "weak": ""}, [0, 1]),
        ({"strong": "", "weak": "roman"}, [0, 1]),
        ({"strong": "adder", "weak": "roman"}, [0, 1]),
        ({"strong": "roman", "weak": "adder"}, [1, 0]),
    ],
)
def test_names_win_over_means(two, names, columns):
    assert pair_columns(two, **names) == columns


def test_strength_is_told_where_both_are_known(make_outcomes):
    reward = [[0.0, NAN]] * 6 + [[1.0, 0.5]] * 2
    outcomes = make_outcomes([f"text {row}" for row in range(8)], ["t"] * 8, reward)
    assert pair_columns(outcomes, strong="", weak="") == [0, 1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({}, "3 candidates .adder, roman, both.*'strong' and 'weak'"),
        ({"strong": "adder"}, "3 candidates"),
        ({"strong": "gpt", "weak": "adder"}, "'strong': no candidate 'gpt' here; there is adder"),
        ({"strong": "adder", "weak": "adder"}, "both name 'adder'"),
    ],
)
def test_a_pair_that_is_none_is_refused(three, names, words):
    with pytest.raises(InputError, match=words):
        Gain(**names).fit(three, seed=0)


def test_one_candidate_is_no_pair(make_outcomes):
    outcomes = make_outcomes(["a text", "b text"], ["t"] * 2, [[1.0], [0.0]])
    with pytest.raises(InputError, match="there are 1 candidates"):
        Gain().fit(outcomes, seed=0)


def test_candidates_never_asked_the_same_are_refused(make_outcomes):
    outcomes = make_outcomes(["a text", "b text"], ["t"] * 2, [[1.0, NAN], [NAN, 1.0]])
    with pytest.raises(InputError, match="no training query has a reward of both 'adder' and"):
        Gain(strong="adder", weak="roman").fit(outcomes, seed=0)


@pytest.mark.parametrize("names", [{}, {"strong": "adder", "weak": "roman"}])
def test_no_rows_are_refused(two, names):
    with pytest.raises(InputError, match="no training rows"):
        Gain(**names).fit(two.take(np.array([], dtype=np.int64)), seed=0)


def test_of_three_only_the_pair_is_predicted(three):
    router = Gain(strong="both", weak="roman").fit(three, seed=0)
    assert router.candidates == ("both", "roman")
    assert router.predict(three.texts).reward.shape == (40, 2)
    assert router.completion_tokens == pytest.approx([165.0, 110.0])


def test_a_tie_is_half_a_win():
    assert half_win(np.array([[1.0, 0], [1, 1], [0, 0], [0, 1]])).tolist() == [1, 0.5, 0.5, 0]


def test_the_gain_is_the_difference_and_the_level_the_mean():
    level, gain = np.array([0.9, 0.1]), np.array([0.5, -0.3])
    reward = pair_prediction(level, gain=gain, completion_tokens=np.array([1.0, 2.0])).reward
    assert reward[:, 0] - reward[:, 1] == pytest.approx(gain)
    assert reward.mean(axis=1) == pytest.approx(level)


def test_on_candidates_keeps_what_belongs_together(make_two_tasks):
    outcomes = make_two_tasks(9)
    kept = on_candidates(outcomes, [0, 2])
    assert kept.candidates == ("adder", "both")
    assert kept.candidate_ids == ("id-adder", "id-both")
    assert np.array_equal(kept.reward, outcomes.reward[:, [0, 2]])
    assert np.array_equal(kept.completion_tokens, outcomes.completion_tokens[:, [0, 2]])


def test_of_a_single_task_errors_are_over_queries(make_two_tasks):
    """Over one task's mean the one-standard-error rule would have no standard error."""
    outcomes = make_two_tasks(40)
    one = outcomes.take(outcomes.tasks == "sums")
    assert len(np.unique(Gain(unseen="tasks").groups(one))) == len(one)
    assert len(np.unique(Gain(unseen="tasks").groups(outcomes))) == 2

import pytest

from cluster.errors import InputError
from cluster.routers.question import QUESTIONS, grades, outcome_labels


def test_grades_are_fifths_of_the_weak_ones_reward(make_outcomes):
    weak = [0.0, 0.19, 0.2, 0.4, 0.6, 0.79, 0.8, 1.0]
    rows = make_outcomes(["q"] * 8, ["t"] * 8, [[1.0, w] for w in weak])
    assert (grades(rows) + 1).tolist() == [1, 1, 2, 3, 4, 4, 5, 5]
    with pytest.raises(InputError, match=r"reward 1\.5, expected 0 to 1"):
        grades(make_outcomes(["q"], ["t"], [[1.0, 1.5]]))


def test_outcomes_are_told_by_a_third(make_outcomes):
    rewards = [[1.0, 0.0], [0.5, 0.0], [0.3, 0.0], [0.5, 0.5], [0.0, 0.3], [0.0, 0.5]]
    rows = make_outcomes(["q"] * 6, ["t"] * 6, rewards)
    assert outcome_labels(rows).tolist() == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("target", list(QUESTIONS))
def test_every_label_is_worth_something_and_a_certain_one_settles_it(target):
    question = QUESTIONS[target]
    assert len(question.labels) == len(question.worth)
    assert (max(question.worth), min(question.worth)) == (1.0, 0.0)
    assert question.template.count("{text}") == 1

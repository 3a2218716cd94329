import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.multihead import Multihead, reward_labels

QUICK = {"epochs": 20, "patience": 20, "batch_size": 32, "hidden": 16, "learning_rate": 0.01}
ASKED = pl.Series(["What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"])


def test_predictions_are_chances(make_two_tasks):
    """`adder` is right on nine of ten sums, `roman` on one, `both` on six; also with holes."""
    rows = make_two_tasks(400)
    rows.reward[::3, 0] = np.nan
    router = (
        Multihead(**QUICK)
        .train(rows, validation=make_two_tasks(100, seed=1, split="validation"), seed=0)
        .router
    )
    asked = make_two_tasks(200, seed=2)
    found = router.predict(asked.texts).reward
    for task, expected in (("sums", [0.9, 0.1, 0.6]), ("numerals", [0.1, 0.9, 0.6])):
        assert found[asked.tasks == task].mean(axis=0) == pytest.approx(expected, abs=0.1)
    assert ((found >= 0) & (found <= 1)).all()


def test_the_ranking_term_keeps_candidates_apart(make_outcomes):
    """`adder` is .55 on average and best on sums; `roman` .65 everywhere else."""
    texts = [f"What is {n} plus 1?" if n % 2 else f"Write {n} in Roman" for n in range(200)]
    reward = np.where(np.arange(200)[:, None] % 2, [0.7, 0.5], [0.4, 0.8])
    rows = make_outcomes(texts, ["t"] * 200, reward)

    def spread(weight):
        router = Multihead(ranking_weight=weight, **QUICK).fit(rows, seed=0)
        found = router.predict(rows.texts).reward
        assert np.array_equal(found.argmax(axis=1), reward.argmax(axis=1))
        return np.abs(found[:, 0] - found[:, 1]).mean()

    assert spread(3.0) > spread(0.0) + 0.05


@pytest.mark.parametrize(("value", "words"), [(1.5, "1.5"), (-0.2, "-0.2")])
def test_rewards_that_are_no_chances_are_refused(make_outcomes, value, words):
    reward = [[0.5, 1.0], [0.0, value]]
    rows = make_outcomes(["a", "b"], ["t", "t"], reward)
    message = f"query 'train-1', candidate 'roman': reward {words}, expected 0 to 1"
    with pytest.raises(InputError, match=message):
        Multihead().train(rows, validation=rows, seed=0)
    fine = rows.take(np.array([0]))
    with pytest.raises(InputError, match=r"reward .*use --normalisation min_max"):
        Multihead().train(fine, validation=rows, seed=0)


def test_missing_cells_are_not_zeros(make_outcomes):
    rows = make_outcomes(["a", "b"], ["t", "t"], [[0.25, np.nan], [np.nan, 1.0]])
    found = reward_labels(rows)
    assert found["known"].tolist() == [[1, 0], [0, 1]]
    assert found["reward"][found["known"] > 0].tolist() == [0.25, 1.0]

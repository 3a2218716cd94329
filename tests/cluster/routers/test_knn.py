import numpy as np
import polars as pl
import pytest

from cluster.routers import knn as knn_module
from cluster.routers.knn import Knn

SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"


def test_each_task_goes_to_its_specialist(make_two_tasks):
    router = Knn(k=20, shrinkage=1.0).fit(make_two_tasks(200), seed=0)
    prediction = router.predict(pl.Series([SUM, NUMERAL]))
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.completion_tokens[0] == pytest.approx([10, 20, 30], rel=0.6)


def test_it_is_the_shrunk_mean_of_the_nearest(make_two_tasks):
    outcomes = make_two_tasks(60)
    outcomes.reward[::3, 1] = np.nan
    router = Knn(k=7, shrinkage=2.0).fit(outcomes, seed=0)
    asked = make_two_tasks(10, seed=5).texts
    vectors, train = router.encoder.encode(asked), router.encoder.encode(outcomes.texts)
    predicted = router.predict(asked).reward
    for row, vector in enumerate(vectors):
        # Equal similarities make the set of neighbours ambiguous; there any of them will do.
        order = np.argsort(-(train @ vector))
        ranked = (train @ vector)[order]
        if np.isclose(ranked[6], ranked[7]):
            continue
        near = outcomes.reward[order[:7]]
        for column in range(3):
            by_task = [
                np.nanmean(outcomes.reward[outcomes.tasks == task, column])
                for task in ("sums", "numerals")
            ]
            known = near[:, column][~np.isnan(near[:, column])]
            expected = (known.sum() + 2.0 * np.mean(by_task)) / (len(known) + 2.0)
            assert predicted[row, column] == pytest.approx(expected)


def test_a_query_like_nothing_has_the_macro_mean(make_two_tasks):
    outcomes = make_two_tasks(60)
    reward = Knn(k=5).fit(outcomes, seed=0).predict(pl.Series([""])).reward[0]
    by_task = [
        outcomes.reward[outcomes.tasks == task].mean(axis=0) for task in ("sums", "numerals")
    ]
    assert reward == pytest.approx(np.mean(by_task, axis=0))


def test_parts_change_nothing(make_two_tasks, monkeypatch):
    outcomes = make_two_tasks(60)
    router = Knn(k=200).fit(outcomes, seed=0)
    whole = router.predict(outcomes.texts).reward
    monkeypatch.setattr(knn_module, "PAIRS_AT_ONCE", 200)
    assert router.predict(outcomes.texts).reward == pytest.approx(whole)


def test_tokens_never_seen_are_unknown(make_outcomes):
    texts = [f"how many apples are {n}" for n in range(20)]
    outcomes = make_outcomes(texts, ["t"] * 20, np.ones((20, 2)), np.tile([7.0, np.nan], (20, 1)))
    tokens = Knn(k=3).fit(outcomes, seed=0).predict(outcomes.texts).completion_tokens
    assert tokens[:, 0] == pytest.approx(7.0)
    assert np.isnan(tokens[:, 1]).all()

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cluster.folds import task_folds, text_folds

TEXTS = st.lists(st.text(max_size=8), min_size=1, max_size=40)


@given(TEXTS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_texts_fold_depends_on_nothing_but_the_text(texts, n_folds, random):
    folds = dict(
        zip(texts, text_folds(pl.Series(texts), n_folds=n_folds, purpose="p"), strict=True)
    )
    shuffled = random.sample(texts, len(texts)) + texts[:3]
    again = text_folds(pl.Series(shuffled), n_folds=n_folds, purpose="p")
    assert [folds[text] for text in shuffled] == again.tolist()
    assert set(again.tolist()) <= set(range(n_folds))


def test_folds_are_of_about_the_same_size():
    folds = text_folds(pl.Series([f"text {n}" for n in range(5000)]), n_folds=5, purpose="p")
    assert np.bincount(folds).min() > 900


def test_folds_within_a_fold_are_cut_anew():
    """With one purpose for both, the inner folds of an outer fold's rows would be empty."""
    texts = pl.Series([f"text {n}" for n in range(1000)])
    outer = text_folds(texts, n_folds=5, purpose="outer")
    inner = text_folds(texts.filter(outer != 0), n_folds=5, purpose="inner")
    assert np.bincount(inner, minlength=5).min() > 100


def test_folds_are_the_same_on_every_machine():
    texts = pl.Series(["What is 1 + 1?", "什么", ""])
    assert text_folds(texts, n_folds=1000, purpose="evaluation").tolist() == [55, 444, 339]


@given(st.lists(st.sampled_from("abcdefghijklmn"), min_size=1, max_size=60), st.integers(2, 6))
def test_tasks_stay_whole_and_are_dealt_out_evenly(tasks, n_folds):
    folds = task_folds(np.array(tasks), n_folds=n_folds, purpose="p")
    fold_of = dict(zip(tasks, folds.tolist(), strict=True))
    assert [fold_of[task] for task in tasks] == folds.tolist()
    sizes = np.bincount(list(fold_of.values()), minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1

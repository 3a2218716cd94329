import numpy as np

from cluster.routers.out_of_fold import most_shrunk_near_best, out_of_fold

EACH = np.arange(4)


def mean_path(vectors, target, asked):
    """Two settings: the mean of the rows that were seen, and their spread beyond it."""
    expected = target.mean() + np.array([[0.0], [np.ptp(target)]])
    return np.tile(expected, (1, len(asked)))


def test_a_row_is_judged_by_the_others_alone_beyond_their_mean():
    scores = out_of_fold(mean_path, np.zeros((4, 1)), np.array([1.0, 3, 5, 8]), folds=EACH // 2)
    assert scores.tolist() == [[4.25] * 4, [7.25, 7.25, 6.25, 6.25]]


def test_with_one_fold_there_is_only_the_mean():
    scores = out_of_fold(mean_path, np.zeros((4, 1)), np.array([1.0, 3, 5, 7]), folds=EACH * 0)
    assert scores.tolist() == [[4.0] * 4] * 2


def test_the_most_shrunk_within_one_standard_error_wins():
    best = np.array([1.0, 1.0, 1.0, 1.0])
    close = best + np.array([0.4, -0.3, 0.4, -0.3])
    assert most_shrunk_near_best(np.stack([close, best]), groups=EACH) == 0


def test_a_setting_that_is_surely_worse_is_passed_over():
    best = np.array([1.0, 1.0, 1.0, 1.0])
    worse = best + np.array([0.4, 0.3, 0.4, 0.3])
    assert most_shrunk_near_best(np.stack([worse, best]), groups=EACH) == 1


def test_rows_that_err_together_are_one_draw():
    best = np.zeros(8)
    # Worse in one group, better in the other: sure by rows, unsure by groups.
    first = np.array([0.5, 0.5, 0.5, 0.5, -0.2, -0.2, -0.2, -0.2])
    errors = np.stack([first, best])
    assert most_shrunk_near_best(errors, groups=np.arange(8)) == 1
    assert most_shrunk_near_best(errors, groups=np.repeat([0, 1], 4)) == 0

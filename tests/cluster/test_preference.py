import numpy as np
import pytest

from cluster.preference import Comparisons


def comparisons(rows, *, n_rows=3, n_players=3):
    """Of (row, a, b, target, weight)."""
    row, a, b, target, weight = (np.array(column) for column in zip(*rows, strict=True))
    return Comparisons(
        row=row,
        a=a,
        b=b,
        target=target.astype(float),
        weight=weight.astype(float),
        n_rows=n_rows,
        n_players=n_players,
    )


@pytest.fixture
def four():
    return comparisons([(0, 0, 1, 1, 1), (0, 2, 0, 0.5, 2), (2, 0, 1, 0, 1), (2, 1, 2, 0.75, 4)])


def test_wins_are_weighted_shares(four):
    assert four.wins().tolist() == [[0, 1, 1], [1, 0, 3], [1, 1, 0]]


def test_wins_of_each_row_add_up(four):
    by_row = four.wins_by_row()
    assert by_row.shape == (3, 3, 3)
    assert by_row[0].tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert not by_row[1].any()
    assert np.array_equal(by_row.sum(axis=0), four.wins())


def test_groups_meet_where_their_members_did(four):
    grouped = four.between(np.array([0, 1, 1]), n_groups=2)
    assert len(grouped) == 3
    assert grouped.wins().tolist() == [[0, 2], [2, 0]]


def test_who_has_no_group_is_left_out(four):
    grouped = four.between(np.array([0, -1, 1]), n_groups=2)
    assert grouped.wins().tolist() == [[0, 1], [1, 0]]


def test_some_rows_are_numbered_anew(four):
    kept = four.only_rows(np.array([1, 2]))
    assert kept.row.tolist() == [1, 1]
    assert np.array_equal(kept.wins_by_row(), four.wins_by_row()[1:])


def test_nothing_compared_is_no_wins():
    nothing = comparisons([(0, 0, 1, 1, 1)], n_rows=1).take(np.zeros(1, dtype=bool))
    assert nothing.wins().tolist() == np.zeros((3, 3)).tolist()
    assert nothing.wins_by_row().shape == (1, 3, 3)

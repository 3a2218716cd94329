import time

import numpy as np
import pytest

from cluster.encoders.forward import Tokenized, ahead


def test_texts_are_sorted_by_length_and_keep_their_places():
    lengths = np.array([3, 0, 1, 3, 2])
    tokens = np.array([10, 11, 12, 30, 40, 41, 42, 50, 51])
    found = Tokenized.of(tokens, lengths)
    assert found.n_texts == 5
    assert found.rows.tolist() == [2, 4, 0, 3]
    assert found.lengths.tolist() == [1, 2, 3, 3]
    assert found.tokens.tolist() == [30, 50, 51, 10, 11, 12, 40, 41, 42]


def test_what_is_made_ahead_comes_in_order():
    def slow_at_first(item):
        time.sleep(0.02 if item < 2 else 0)
        return item * 10

    assert list(ahead(slow_at_first, range(7), threads=3)) == [n * 10 for n in range(7)]
    assert list(ahead(slow_at_first, [], threads=3)) == []


def test_no_more_is_made_ahead_than_there_are_threads():
    taken = []

    def items():
        for n in range(20):
            taken.append(n)
            yield n

    made = ahead(str, items(), threads=2)
    assert next(made) == "0"
    assert len(taken) == 3
    assert list(made) == [str(n) for n in range(1, 20)]


def test_an_error_ahead_is_raised_where_its_result_is_asked_for():
    made = ahead(lambda n: 1 // n, [2, 1, 0, 3], threads=2)
    assert (next(made), next(made)) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(made)

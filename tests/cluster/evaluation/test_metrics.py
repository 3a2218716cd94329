import numpy as np
import pytest

from cluster.evaluation.metrics import entropy


def test_entropy_is_high_where_shares_say_little():
    shares = np.array([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    assert entropy(shares) == pytest.approx([np.log(4), 0.0, np.log(2)])

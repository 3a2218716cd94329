"""How many new queries lie beyond what a number of training queries reach, by chance."""

import numpy as np
import pytest

from cluster.drift.far import expected_share, limit_share


@pytest.mark.parametrize(("n_train", "rank", "n"), [(60, 1, 50), (500, 5, 300), (500, 5, 20_000)])
def test_new_draws_keep_to_the_limit_whatever_the_distribution(n_train, rank, n):
    rng = np.random.default_rng(3)
    draws = 3000
    trained = np.sort(rng.lognormal(size=(draws, n_train)), axis=1)[:, -rank]
    # The number of new draws beyond a distance hangs on its rank alone.
    beyond = np.exp(rng.normal(size=(200_000,)))
    tail = 1 - np.searchsorted(np.sort(beyond), trained) / len(beyond)
    share = rng.binomial(n, tail) / n
    assert share.mean() == pytest.approx(expected_share(rank, n_train=n_train), rel=0.1)
    limit = limit_share(rank, n_train=n_train, n=n, level=0.01)
    assert (share > limit).mean() < 0.02

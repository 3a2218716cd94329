"""Made-up rows to train on: vectors, rewards with holes, two tasks."""

import numpy as np
import pytest

from cluster.training.examples import VECTORS, Examples

DIMENSIONS, N_CANDIDATES = 6, 3


def examples(n, *, seed=0, missing=0.0, labels=None):
    """The candidate is best whose direction the vector points to; `labels` from the rewards."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(DIMENSIONS, N_CANDIDATES))
    vectors = rng.normal(size=(n, DIMENSIONS)).astype(np.float32)
    reward = (vectors @ directions + rng.normal(size=(n, N_CANDIDATES)) > 0).astype(np.float64)
    holes = rng.random(reward.shape) < missing
    holes[np.arange(n), rng.integers(N_CANDIDATES, size=n)] = False
    reward[holes] = np.nan
    found = {} if labels is None else labels(reward)
    return Examples({VECTORS: vectors}, found, reward, np.arange(n) % 2)


@pytest.fixture
def make_examples():
    return examples

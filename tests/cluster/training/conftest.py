"""Made-up rows to train on: vectors, rewards with holes, two tasks."""

import importlib.util
from pathlib import Path

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


@pytest.fixture(scope="session")
def scene():
    """The script that trains one network in several ways, as a module."""
    script = Path(__file__).parent / "train_on_ray.py"
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

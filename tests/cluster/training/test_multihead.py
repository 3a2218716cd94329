import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cluster.routers.multihead import pair_gaps
from cluster.training.batches import MicroBatch
from cluster.training.examples import VECTORS, Examples
from cluster.training.multihead import ranking_losses
from cluster.training.network import to_batch
from cluster.training.plan import Plan

REWARDS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(2, 5)),
    elements=st.sampled_from([0.0, 0.3, 0.5, 1.0, math.nan]),
)


def batch_of(reward, *, seed=0):
    n = len(reward)
    known = ~np.isnan(reward)
    labels = {
        "reward": np.nan_to_num(reward, nan=0.7).astype(np.float32),
        "known": known.astype(np.float32),
        "cells_a_row": np.full(n, known.sum() / n or 1.0, np.float32),
        "pairs_a_row": np.full(n, pair_gaps(reward).mean() or 1.0, np.float32),
    }
    vectors = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    rows = Examples({VECTORS: vectors}, labels, reward, np.zeros(n, np.int64))
    return to_batch(rows, MicroBatch(np.arange(n), seed=0), device=torch.device("cpu"))


def built(n_candidates, **settings):
    settings = {"dropout": 0.0, "hidden": 8, "rank": 3} | settings
    return Plan("multihead", settings, n_candidates=n_candidates, dimensions=4).build()


@given(REWARDS, st.sampled_from([0.0, 0.3, 2.0]))
def test_it_is_the_plain_mean_over_known_cells_and_pairs(reward, weight):
    batch = batch_of(reward)
    network = built(reward.shape[1], ranking_weight=weight)
    logits = network.logits(batch).detach().double().tolist()
    cells, pairs = [], []
    for z, row in zip(logits, reward.tolist(), strict=True):
        for c, r in enumerate(row):
            if math.isnan(r):
                continue
            p = 1 / (1 + math.exp(-z[c]))
            cells.append(-r * math.log(p) - (1 - r) * math.log(1 - p))
            pairs += [
                (r - other, math.log1p(math.exp(z[o] - z[c])))
                for o, other in enumerate(row)
                if other < r
            ]
    expected = np.mean(cells) if cells else 0.0
    if pairs:
        expected += weight * np.average([lost for _, lost in pairs], weights=[g for g, _ in pairs])
    assert float(network(batch).detach()) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(REWARDS)
def test_pairs_are_weighed_by_how_differently_they_did(reward):
    for gaps, row in zip(pair_gaps(reward), reward.tolist(), strict=True):
        known = [r for r in row if not math.isnan(r)]
        expected = sum(abs(a - b) for at, a in enumerate(known) for b in known[:at])
        assert gaps == pytest.approx(expected, abs=1e-9)


def test_equals_are_not_ranked():
    z = torch.tensor([[3.0, -1.0, 0.5]], requires_grad=True)
    loss = ranking_losses(z, reward=torch.full((1, 3), 0.5), known=torch.ones(1, 3)).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(z.grad, torch.zeros(1, 3))


def test_a_missing_cell_has_no_gradient():
    z = torch.zeros(1, 3, requires_grad=True)
    known = torch.tensor([[1.0, 0.0, 1.0]])
    ranking_losses(z, reward=torch.tensor([[1.0, 0.5, 0.0]]), known=known).sum().backward()
    assert z.grad[0].tolist() == pytest.approx([-0.5, 0.0, 0.5])


def test_scores_are_chances():
    network = built(5)
    with torch.no_grad():
        network.bias += torch.tensor([-40.0, -1.0, 0.0, 1.0, 40.0])
        scores = network.scores(batch_of(np.ones((3, 5))))
    assert scores.shape == (3, 5)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_step_raises_the_better_candidate_above_the_worse(weight):
    reward = np.array([[1.0, 0.0], [0.0, 1.0]])
    batch, network = batch_of(reward), built(2, ranking_weight=weight)

    def margins():
        z = network.logits(batch).detach()
        return (z[0, 0] - z[0, 1]) + (z[1, 1] - z[1, 0])

    before = margins()
    network(batch).backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert margins() > before

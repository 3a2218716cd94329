import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cluster.training.batches import MicroBatch
from cluster.training.examples import VECTORS, Examples
from cluster.training.network import to_batch
from cluster.training.plan import Plan
from cluster.training.zooter import divergence

SHAPES = st.tuples(st.integers(1, 5), st.integers(2, 5))


def distributions(weights, known):
    """Rows that sum to 1 over their known cells; 0 elsewhere."""
    kept = weights * known
    total = kept.sum(axis=1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


@given(
    SHAPES.flatmap(
        lambda shape: st.tuples(
            arrays.arrays(np.float64, shape, elements=st.floats(0.0, 1.0)),
            arrays.arrays(np.float64, shape, elements=st.floats(-5.0, 5.0)),
            arrays.arrays(np.bool_, shape),
        )
    )
)
def test_it_is_the_plain_divergence_over_known_candidates(parts):
    weights, logits, known = parts
    known[:, 0] = True
    shares = distributions(weights.round(3), known)
    expected = 0.0
    for share, z, mask in zip(shares.tolist(), logits.tolist(), known.tolist(), strict=True):
        total = sum(math.exp(one) for one, is_known in zip(z, mask, strict=True) if is_known)
        expected += sum(
            s * (math.log(s) - math.log(math.exp(one) / total))
            for s, one in zip(share, z, strict=True)
            if s > 0
        )
    found = divergence(
        torch.from_numpy(logits), share=torch.from_numpy(shares), known=torch.from_numpy(known)
    )
    assert float(found) == pytest.approx(expected / len(shares), rel=1e-6, abs=1e-8)
    assert float(found) >= -1e-9


def test_it_is_0_where_the_router_says_the_same():
    shares = torch.tensor([[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    same = divergence(shares.log(), share=shares, known=torch.ones(2, 3))
    assert float(same) == pytest.approx(0.0, abs=1e-6)


def test_its_gradient_is_that_of_soft_label_cross_entropy():
    shares = torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    z = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    divergence(z, share=shares, known=torch.ones(2, 3)).backward()
    assert torch.allclose(z.grad, (torch.softmax(z, dim=1) - shares).detach() / 2, atol=1e-6)


def test_a_missing_candidate_is_pushed_nowhere():
    shares = torch.tensor([[0.4, 0.0, 0.6]])
    z = torch.zeros(1, 3, requires_grad=True)
    divergence(z, share=shares, known=torch.tensor([[1.0, 0.0, 1.0]])).backward()
    assert z.grad[0, 1] == 0
    assert z.grad[0].tolist() == pytest.approx([0.1, 0.0, -0.1])


def test_a_row_without_shares_counts_only_in_the_mean():
    z = torch.zeros(2, 2, requires_grad=True)
    shares = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    loss = divergence(z, share=shares, known=torch.ones(2, 2))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2) / 2)
    assert torch.equal(z.grad[1], torch.zeros(2))


def test_a_step_raises_the_share_of_the_better_candidate():
    rows = Examples(
        {VECTORS: np.eye(2, dtype=np.float32)},
        {
            "share": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
            "known": np.ones((2, 2), np.float32),
        },
        np.eye(2),
        np.zeros(2, np.int64),
    )
    batch = to_batch(rows, MicroBatch(np.arange(2), seed=0), device=torch.device("cpu"))
    plan = Plan("zooter", {"dropout": 0.0, "hidden": 8}, n_candidates=2, dimensions=2)
    network = plan.build()
    before = torch.softmax(network.scores(batch).detach(), dim=1)
    network(batch).backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    after = torch.softmax(network.scores(batch).detach(), dim=1)
    assert after[0, 0] > before[0, 0]
    assert after[1, 1] > before[1, 1]

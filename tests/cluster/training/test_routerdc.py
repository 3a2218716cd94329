import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cluster.routers.routerdc import places
from cluster.training.batches import MicroBatch
from cluster.training.examples import VECTORS, Examples
from cluster.training.network import to_batch
from cluster.training.plan import Plan
from cluster.training.routerdc import cosines, sample_llm_loss, sample_sample_loss

REWARDS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)


def logits_like(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def tensors(*found):
    return [torch.from_numpy(np.asarray(one, dtype=np.float32)) for one in found]


def published(z, *, positives, negatives):
    """One row of equation 3: positives and negatives are lists of candidates."""
    if not negatives:
        return 0.0
    below = [math.exp(z[c]) for c in negatives]
    return sum(-math.log(math.exp(z[c]) / (math.exp(z[c]) + sum(below))) for c in positives)


@given(st.integers(0, 10_000))
def test_without_ties_it_is_the_published_loss(seed):
    """K+ = 2 and K- = 2 of five that all did differently, not counting s = 0 and s > 0.5."""
    rng = np.random.default_rng(seed)
    reward = np.stack([rng.permutation([0.0, 0.2, 0.4, 0.6, 0.8]) for _ in range(4)])
    reward[3] = rng.permutation([0.55, 0.6, 0.7, 0.8, 0.9])  # no valid negative
    z = logits_like(reward.shape, seed)
    positive, negative = places(reward, n_places=2), places(-reward, n_places=2)
    parts = tensors(positive * (reward > 0), negative * (reward <= 0.5), reward)
    found = sample_llm_loss(z, positive=parts[0], negative=parts[1], reward=parts[2])
    rows = []
    for row, scores in zip(z.double().tolist(), reward.tolist(), strict=True):
        order = sorted(range(5), key=lambda c, scores=scores: scores[c])
        rows.append(
            published(
                row,
                positives=[c for c in order[-2:] if scores[c] > 0],
                negatives=[c for c in order[:2] if scores[c] <= 0.5],
            )
        )
    assert rows[3] == 0.0
    # The mean is over all rows, those that contribute nothing included.
    assert float(found) == pytest.approx(sum(rows) / len(rows), rel=1e-5)


@given(REWARDS, st.integers(0, 9), st.integers(1, 4), st.integers(1, 4))
def test_with_ties_and_weights_it_is_the_plain_sum(reward, seed, n_positive, n_negative):
    positive = places(reward, n_places=n_positive) * (reward > 0)
    negative = places(-reward, n_places=n_negative) * (reward <= 0.5)
    z = logits_like(reward.shape, seed)
    expected = 0.0
    for at, (row, scores) in enumerate(zip(z.double().tolist(), reward.tolist(), strict=True)):
        for c, mine in enumerate(scores):
            below = sum(
                negative[at, o] * math.exp(row[o]) for o, its in enumerate(scores) if its < mine
            )
            if below > 0:
                expected += positive[at, c] * math.log1p(below / math.exp(row[c]))
    parts = tensors(positive, negative, reward)
    found = sample_llm_loss(z, positive=parts[0], negative=parts[1], reward=parts[2])
    assert float(found) == pytest.approx(expected / len(reward), rel=1e-4, abs=1e-6)


@given(arrays.arrays(np.float32, (3, 4), elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_rows_of_equals_contribute_nothing(reward):
    equal = np.repeat(reward[:, :1], 4, axis=1)
    z = logits_like(equal.shape).requires_grad_()
    parts = tensors(places(equal, n_places=3), places(-equal, n_places=3), equal)
    loss = sample_llm_loss(z, positive=parts[0], negative=parts[1], reward=parts[2])
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("filled", [0.0, 0.5, 1.0])
def test_a_missing_cell_is_neither_better_nor_worse(filled):
    """The loss with it is the loss without its column, whatever stands in the cell."""
    reward = np.array([[1.0, np.nan, 0.0], [0.0, np.nan, 1.0]])
    places_and_rewards = (
        places(reward, n_places=2) * (np.nan_to_num(reward) > 0),
        places(-reward, n_places=2) * (np.nan_to_num(reward) <= 0.5),
        np.nan_to_num(reward, nan=filled),
    )
    names = ["positive", "negative", "reward"]
    parts = dict(zip(names, tensors(*places_and_rewards), strict=True))
    z = logits_like((2, 3)).requires_grad_()
    loss = sample_llm_loss(z, **parts)
    loss.backward()
    assert torch.equal(z.grad[:, 1], torch.zeros(2))
    assert (z.grad[:, [0, 2]] != 0).all()
    seen = {k: v[:, [0, 2]] for k, v in parts.items()}
    assert loss.item() == pytest.approx(sample_llm_loss(z[:, [0, 2]], **seen).item())


def test_large_logits_stay_finite():
    z = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]], requires_grad=True)
    better = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = sample_llm_loss(z, positive=better, negative=1 - better, reward=better)
    loss.backward()
    assert loss.item() == pytest.approx(2000 / 2)
    assert torch.isfinite(z.grad).all()


GROUPS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def drawn_losses(z, groups, *, n_negatives):
    """Every value equation 4 can have for each row, over all draws of partner and strangers."""
    from itertools import combinations

    values = []
    for row, group in enumerate(groups):
        partners = [o for o, its in enumerate(groups) if its == group and o != row]
        strangers = [o for o, its in enumerate(groups) if its != group]
        size = min(n_negatives, len(strangers))
        if not partners or not strangers:
            values.append([0.0])
            continue
        values.append(
            [
                math.log1p(sum(math.exp(z[row][s] - z[row][p]) for s in drawn))
                for p in partners
                for drawn in combinations(strangers, size)
            ]
        )
    return values


@given(GROUPS, st.integers(1, 3), st.integers(0, 99))
def test_the_sample_loss_is_one_of_its_draws(groups, n_negatives, seed):
    """Shown row by row: with the gradient of the row's own logits alone."""
    n = len(groups)
    z = logits_like((n, n), seed).requires_grad_()
    z_rows = z.detach().double().tolist()
    # Its own place would be by far the best partner there is.
    with torch.no_grad():
        z.fill_diagonal_(50.0)
    loss = sample_sample_loss(
        z,
        groups=torch.tensor(groups),
        n_negatives=n_negatives,
        generator=torch.Generator().manual_seed(seed),
    )
    loss.backward()
    possible = drawn_losses(z_rows, groups, n_negatives=n_negatives)
    total = loss.item() * n
    assert sum(map(min, possible)) - 1e-4 <= total <= sum(map(max, possible)) + 1e-4
    for row, group in enumerate(groups):
        touched = torch.nonzero(z.grad[row]).flatten().tolist()
        assert row not in touched
        if possible[row] == [0.0]:
            assert touched == []
            continue
        pulled = [o for o in touched if z.grad[row, o] < 0]
        pushed = [o for o in touched if z.grad[row, o] > 0]
        assert [groups[o] for o in pulled] == [group]
        assert len(pushed) == min(n_negatives, sum(its != group for its in groups))
        assert all(groups[o] != group for o in pushed)


def test_with_one_partner_and_one_stranger_it_is_equation_4():
    z = logits_like((4, 4))
    loss = sample_sample_loss(
        z, groups=torch.tensor([0, 0, 1, 1]), n_negatives=2, generator=torch.Generator()
    )
    partner = {0: 1, 1: 0, 2: 3, 3: 2}
    strangers = {0: [2, 3], 1: [2, 3], 2: [0, 1], 3: [0, 1]}
    expected = 0.0
    for row, other in partner.items():
        up = math.exp(z[row, other])
        expected -= math.log(up / (up + sum(math.exp(z[row, s]) for s in strangers[row]))) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_every_partner_and_stranger_is_drawn_alike():
    groups = torch.tensor([0] * 5 + [1] * 5)
    pulls = torch.zeros(10, 10)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        z = torch.zeros(10, 10, requires_grad=True)
        sample_sample_loss(z, groups=groups, n_negatives=2, generator=generator).backward()
        pulls += torch.sign(z.grad)
    assert pulls[0, 0] == 0
    assert (pulls[0, 1:5] + 100).abs().max() < 45  # 400 partners among four
    assert (pulls[0, 5:] - 160).abs().max() < 50  # 800 strangers among five


def planted(n=40):
    """Rows along two axes; on the first `adder` is right, on the second `roman`."""
    rng = np.random.default_rng(0)
    side = np.arange(n) % 2
    vectors = (np.eye(2)[side] + 0.1 * rng.normal(size=(n, 2))).astype(np.float32)
    reward = np.eye(2)[side]
    labels = {
        "positive": reward.astype(np.float32),
        "negative": (1 - reward).astype(np.float32),
        "reward": reward.astype(np.float32),
        "group": side.astype(np.int64),
    }
    rows = Examples({VECTORS: vectors}, labels, reward, side)
    return to_batch(rows, MicroBatch(np.arange(n), seed=0), device=torch.device("cpu")), side


def test_a_step_raises_the_cosine_with_the_better_candidate():
    batch, side = planted()
    settings = {"dropout": 0.0, "hidden": 8, "sample_weight": 0.0}
    network = Plan("routerdc", settings, n_candidates=2, dimensions=2).build()
    before = network.scores(batch).detach()
    network(batch).backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    moved = network.scores(batch).detach() - before
    rows = torch.arange(len(side))
    assert (moved[rows, side] - moved[rows, 1 - side]).mean() > 0


def test_a_step_draws_queries_of_a_group_together():
    batch, side = planted()
    network = Plan("routerdc", {"dropout": 0.0, "hidden": 8}, n_candidates=2, dimensions=2).build()

    def nearness():
        with torch.no_grad():
            queries = network.embed(batch)
            found = cosines(queries, queries)
        same = torch.from_numpy(side[:, None] == side[None, :])
        return float(found[same].mean() - found[~same].mean())

    before = nearness()
    for seed in range(5):
        queries = network.embed(batch)
        loss = sample_sample_loss(
            cosines(queries, queries),
            groups=batch.labels["group"],
            n_negatives=3,
            generator=torch.Generator().manual_seed(seed),
        )
        network.zero_grad()
        loss.backward()
        torch.optim.SGD(network.projection.parameters(), lr=0.1).step()
    assert nearness() > before


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (0.3, 2.5)])
def test_the_whole_loss_is_the_weighted_sum_at_one_temperature(temperature, weight):
    batch, _ = planted(12)

    def network_with(sample_weight):
        settings = {"dropout": 0.0, "hidden": 8, "temperature": temperature}
        settings["sample_weight"] = sample_weight
        return Plan("routerdc", settings, n_candidates=2, dimensions=2).build()

    network, without = network_with(weight), network_with(0.0)
    queries = network.embed(batch)
    samples = sample_sample_loss(
        cosines(queries, queries) / temperature,
        groups=batch.labels["group"],
        n_negatives=3,
        generator=batch.generator(),
    )
    expected = without(batch).item() + weight * samples.item()
    assert network(batch).item() == pytest.approx(expected, rel=1e-5)

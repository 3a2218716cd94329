import numpy as np
import pytest
import torch
from torch import nn

from cluster.errors import InputError
from cluster.routers.context import ALONE
from cluster.training.batches import MicroBatch
from cluster.training.checkpoint import TRAINING, load_best, load_training, save_training
from cluster.training.examples import TOKENS, VECTORS, Examples, ragged
from cluster.training.loop import (
    Place,
    make_optimizer,
    set_learning_rate,
    train_network,
    validate,
)
from cluster.training.network import Network, to_batch
from cluster.training.plan import Plan
from cluster.training.run import run_training
from cluster.training.settings import TrainingSettings

DIMENSIONS, N_CANDIDATES = 6, 3
CPU = torch.device("cpu")


class Regression(Network):
    """Rewards by least squares over known cells; notes in which arithmetic it was asked."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layer = nn.Linear(DIMENSIONS, N_CANDIDATES)
        self.dropout = nn.Dropout(dropout)
        self.seen = set()

    def scores(self, batch):
        found = self.layer(self.dropout(batch.inputs[VECTORS]))
        self.seen.add(found.dtype)
        return found

    def forward(self, batch):
        known = batch.labels["known"]
        errors = (self.scores(batch) - batch.labels["reward"]) ** 2 * known
        return errors.sum(dim=1).mean()


def labels(reward):
    return {
        "reward": np.nan_to_num(reward).astype(np.float32),
        "known": (~np.isnan(reward)).astype(np.float32),
    }


@pytest.fixture
def sides(make_examples):
    """Rows to train on, and to validate on."""
    return {
        "train": make_examples(200, labels=labels, missing=0.2),
        "validation": make_examples(80, seed=1, labels=labels, missing=0.2),
    }


def trained(sides, *, dropout=0.0, network=None, place=None, resume=None, **settings):
    torch.manual_seed(0)
    network = network or Regression(dropout)
    given = {"precision": "fp32", "batch_size": 64, "learning_rate": 0.01} | settings
    more = {} if resume is None else {"resume": resume}
    progress = train_network(
        network, **sides, settings=TrainingSettings(**given), seed=0, place=place, **more
    )
    return network, progress


def weights_of(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


@pytest.mark.parametrize("n", [64, 57])
def test_micro_batches_add_up_to_the_batch(sides, make_examples, n):
    """57 rows make three micro-batches of 16 and one of 9, whose rows count no more than others."""
    sides["train"] = make_examples(n, labels=labels, missing=0.3)
    whole, parts = (
        trained(sides, batch_size=64, micro_batch=micro, epochs=5, patience=5)[1]
        for micro in (64, 16)
    )
    for one, other in zip(whole.notes, parts.notes, strict=True):
        assert one["step"] == other["step"]
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], abs=1e-6)
    for name, weight in whole.best.items():
        assert torch.allclose(weight, parts.best[name], atol=1e-6)


def test_it_learns_what_was_planted(sides):
    _, progress = trained(sides, epochs=30, patience=30)
    first, last = progress.notes[0], progress.notes[-1]
    assert last["train_loss"] < first["train_loss"]
    chance = np.nanmean(sides["validation"].reward)
    assert progress.best_score > chance + 0.15


def test_the_weights_kept_are_those_of_the_best_epoch(sides):
    network, progress = trained(sides, epochs=12, patience=12, learning_rate=0.1, warmup_share=0)
    found = [note["validation_score"] for note in progress.notes]
    assert progress.best_epoch == int(np.argmax(found)) + 1
    assert progress.best_epoch < 12
    settings = TrainingSettings(precision="fp32")
    score, _ = validate(network, sides["validation"], settings=settings, device=CPU)
    assert found.count(max(found)) == 1
    assert score == max(found) == progress.best_score
    until_then, _ = trained(
        sides, epochs=progress.best_epoch, patience=12, learning_rate=0.1, warmup_share=0
    )
    assert torch.equal(weights_of(network), weights_of(until_then))


def test_it_stops_when_the_score_has_stopped_rising(sides):
    _, progress = trained(sides, epochs=20, patience=3, learning_rate=1e-12)
    assert progress.best_epoch == 1
    assert len(progress.notes) == progress.epoch == 4


def test_of_equal_scores_the_lowest_loss_is_best(make_examples):
    """Where every choice is worth the same, what it is worth is to be learned nevertheless."""
    rows = make_examples(100, labels=labels)
    rows.reward[:] = 0.5
    sides = {"train": rows, "validation": rows}
    _, progress = trained(sides, epochs=30, patience=3)
    losses = [note["validation_loss"] for note in progress.notes]
    assert progress.best_epoch == int(np.argmin(losses)) + 1 > 10


def test_the_learning_rate_rises_and_then_stays():
    settings = TrainingSettings(learning_rate=0.01, warmup_share=0.5)
    optimizer = make_optimizer(Regression(), settings=settings)
    rates = []
    for at in range(8):
        set_learning_rate(optimizer, at=at, total=8, settings=settings)
        rates.append({group["lr"] for group in optimizer.param_groups})
    assert [rate for (rate,) in rates] == pytest.approx([0.0025, 0.005, 0.0075, *[0.01] * 5])


def test_only_matrices_decay():
    optimizer = make_optimizer(Regression(), settings=TrainingSettings(weight_decay=0.1))
    decay = {
        w.ndim: group["weight_decay"] for group in optimizer.param_groups for w in group["params"]
    }
    assert decay == {2: 0.1, 1: 0.0}


class Killed(Exception):
    """Stands for a worker that is gone."""


def test_an_interrupted_run_ends_as_the_undisturbed_one(sides, tmp_path):
    settings = {"dropout": 0.3, "epochs": 6, "patience": 6, "micro_batch": 16}

    def saved(network, optimizer, progress):
        save_training(tmp_path / TRAINING, network=network, optimizer=optimizer, progress=progress)
        if progress.epoch == 3:
            raise Killed

    undisturbed, notes = trained(sides, **settings)
    with pytest.raises(Killed):
        trained(sides, **settings, place=Place(saved=saved))
    best, before = load_best(tmp_path / TRAINING)
    assert len(before) == 3

    resumed, again = trained(
        sides,
        **settings,
        resume=lambda network, optimizer: load_training(
            tmp_path / TRAINING, network=network, optimizer=optimizer
        ),
    )
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))
    assert again.notes == notes.notes
    assert again.best_epoch == notes.best_epoch
    assert best.keys() == again.best.keys()


def test_a_run_that_is_over_does_nothing_more(sides, tmp_path):
    def saved(network, optimizer, progress):
        save_training(tmp_path / TRAINING, network=network, optimizer=optimizer, progress=progress)

    first, before = trained(sides, epochs=2, place=Place(saved=saved))
    again, after = trained(
        sides,
        epochs=2,
        resume=lambda network, optimizer: load_training(
            tmp_path / TRAINING, network=network, optimizer=optimizer
        ),
    )
    assert after.notes == before.notes
    assert torch.equal(weights_of(first), weights_of(again))


def test_tied_weights_can_be_saved(sides, tmp_path):
    class Tied(Regression):
        def __init__(self):
            super().__init__()
            self.same = self.layer

    def saved(network, optimizer, progress):
        save_training(tmp_path / TRAINING, network=network, optimizer=optimizer, progress=progress)

    _, progress = trained(sides, network=Tied(), epochs=1, place=Place(saved=saved))
    best, _ = load_best(tmp_path / TRAINING)
    assert torch.equal(best["same.weight"], progress.best["layer.weight"])


def test_a_missing_reward_is_never_chosen(make_examples):
    rows = make_examples(40, labels=labels, missing=0.5)
    network = Regression()
    settings = TrainingSettings(precision="fp32")
    score, loss = validate(network, rows, settings=settings, device=CPU)
    with torch.no_grad():
        scores = network.layer(torch.from_numpy(rows.inputs[VECTORS])).numpy()
    by_task = {0: [], 1: []}
    losses = []
    for row in range(40):
        known = [c for c in range(N_CANDIDATES) if not np.isnan(rows.reward[row, c])]
        chosen = max(known, key=lambda c, row=row: scores[row, c])
        by_task[row % 2].append(rows.reward[row, chosen])
        losses.append(sum((scores[row, c] - rows.reward[row, c]) ** 2 for c in known))
    assert score == pytest.approx(np.mean([np.mean(earned) for earned in by_task.values()]))
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_validation_in_parts_is_validation_whole(make_examples, monkeypatch):
    rows = make_examples(50, labels=labels)
    network, settings = Regression(), TrainingSettings(precision="fp32")
    whole = validate(network, rows, settings=settings, device=CPU)
    monkeypatch.setattr("cluster.training.loop.SCORED_AT_ONCE", 7)
    parts = validate(network, rows, settings=settings, device=CPU)
    assert parts == pytest.approx(whole, rel=1e-6)


def token_rows(rows):
    n = len(rows)
    return Examples(ragged(rows), {"row": np.arange(n)}, np.ones((n, 2)), np.zeros(n, np.int64))


def test_texts_are_padded_on_the_right_to_the_longest_of_the_batch():
    examples = token_rows([[5, 6, 7], [8], [], [9, 10, 11, 12, 13]])
    assert examples.lengths.tolist() == [3, 1, 0, 5]
    batch = to_batch(examples, MicroBatch(np.array([1, 0, 2]), seed=4), device=CPU)
    assert batch.inputs[TOKENS].tolist() == [[8, 0, 0], [5, 6, 7], [0, 0, 0]]
    assert batch.inputs["mask"].tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert batch.labels["row"].tolist() == [1, 0, 2]
    assert batch.seed == 4


def test_examples_travel_as_flat_arrays():
    from safetensors.numpy import load, save

    examples = token_rows([[5, 6, 7], [8], []])
    examples.reward[1, 0] = np.nan
    back = Examples.from_arrays(load(save(examples.arrays(prefix="a"))), prefix="a")
    assert back.inputs.keys() == examples.inputs.keys()
    assert back.lengths.tolist() == [3, 1, 0]
    assert np.array_equal(back.reward, examples.reward, equal_nan=True)
    assert np.array_equal(back.labels["row"], examples.labels["row"])


@pytest.mark.parametrize(("precision", "seen"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_the_arithmetic_is_what_was_asked_for(sides, precision, seen):
    network, progress = trained(sides, epochs=2, precision=precision)
    assert network.seen == {seen}
    assert network.layer.weight.dtype == torch.float32
    assert np.isfinite(progress.notes[-1]["train_loss"])


@pytest.mark.parametrize("method", ["routerdc", "zooter", "multihead"])
def test_heads_are_exact_in_bf16(method):
    """Else cosines of candidates are 0.004 apart at best, and those nearer tie."""
    plan = Plan(method, {}, n_candidates=4, dimensions=8)
    network = plan.build().eval()
    rows = Examples(
        {VECTORS: np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)},
        {},
        np.ones((5, 4)),
        np.zeros(5, np.int64),
    )
    batch = to_batch(rows, MicroBatch(np.arange(5), seed=0), device=CPU)
    with torch.no_grad():
        exact = network.scores(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(network.scores(batch), exact)


def multihead(make_examples, **settings):
    def with_means(reward):
        rows = len(reward)
        one = np.ones(rows, np.float32)
        return labels(reward) | {"cells_a_row": 3 * one, "pairs_a_row": one}

    plan = Plan("multihead", settings, n_candidates=N_CANDIDATES, dimensions=DIMENSIONS)
    return plan, {
        "train": make_examples(60, labels=with_means),
        "validation": make_examples(30, seed=1, labels=with_means),
    }


def test_training_that_diverges_is_told_in_words(make_examples):
    plan, sides = multihead(make_examples, learning_rate=1e30, epochs=2)
    with pytest.raises(InputError, match=r"'multihead' diverged.*learning_rate"):
        run_training(plan, **sides, context=ALONE)


def test_training_leaves_the_process_as_it_was(make_examples):
    plan, sides = multihead(make_examples, epochs=2)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = run_training(plan, **sides, context=ALONE)
    assert torch.equal(torch.rand(3), expected)
    again = run_training(plan, **sides, context=ALONE)
    assert all(np.array_equal(first[0][name], again[0][name]) for name in first[0])
    assert first[1] == again[1]


def test_workers_that_cannot_share_a_step_are_refused(sides):
    with pytest.raises(InputError, match=r"2 workers cannot share evenly.*micro_batch"):
        trained(sides, batch_size=64, micro_batch=64, place=Place(workers=2))


def test_two_workers_gradients_average_to_one_workers(sides):
    """What DistributedDataParallel does, by hand: a step's two shares, averaged."""
    from cluster.training.batches import share
    from cluster.training.loop import steps_of

    settings = TrainingSettings(batch_size=64, micro_batch=16, precision="fp32")
    network = Regression()
    # The last step has a short micro-batch: 200 rows are 12 and a half of them.
    for step in steps_of(sides["train"], settings=settings, seed=0, epoch=0):
        rows = np.concatenate([micro.rows for micro in step])
        batch = to_batch(sides["train"], MicroBatch(rows, seed=0), device=CPU)
        expected = torch.autograd.grad(network(batch), network.layer.weight)[0]
        found = [gradient_of(network, sides["train"], step, rank=rank) for rank in (0, 1)]
        assert torch.allclose(sum(found) / 2, expected, atol=1e-6)
        assert len(share(step, rank=0, workers=2)) == len(share(step, rank=1, workers=2))


def gradient_of(network, rows, step, *, rank):
    """What one of two workers adds up over its share, caught before the optimizer."""
    from cluster.training import loop

    caught = []
    settings = TrainingSettings(
        batch_size=64, micro_batch=16, precision="fp32", epochs=1, clip=1e30
    )

    def stop(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "steps_of", lambda *_, **__: [step])
        patch.setattr(
            loop.nn.utils,
            "clip_grad_norm_",
            lambda *_: caught.append(network.layer.weight.grad.clone()) or stop(),
        )
        with pytest.raises(Killed):
            train_network(
                network,
                train=rows,
                validation=rows,
                settings=settings,
                seed=0,
                place=Place(rank=rank, workers=2),
            )
    network.zero_grad(set_to_none=True)
    return caught[0]

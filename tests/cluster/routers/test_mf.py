from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.mf import MatrixFactorisation, MatrixFactorisationRouter
from cluster.routers.transfer import transfer
from cluster.training.examples import VECTORS
from cluster.training.mf import MatrixFactorisationNetwork, comparison_losses
from cluster.training.network import Batch

NAN = float("nan")
SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None])
PAIR = {"strong": "adder", "weak": "roman"}
FAST = {
    "learning_rate": 1e-2,
    "batch_size": 16,
    "epochs": 6,
    "encoder_settings": {"dimensions": 16},
    "hidden": 16,
}


def network(**settings):
    torch.manual_seed(0)
    given = {"n_candidates": 3, "dimensions": 5, "hidden": 4, "dropout": 0.0, "noise": 0.0}
    return MatrixFactorisationNetwork(**{**given, **settings})


def test_delta_is_the_papers_equation():
    head, query = network(), torch.randn(1, 5)
    weights = {name: weight.detach().numpy() for name, weight in head.named_parameters()}
    projected = weights["projection.weight"] @ query[0].numpy() + weights["projection.bias"]
    expected = [
        weights["readout"] @ (vector / np.linalg.norm(vector) * projected)
        for vector in weights["candidates"]
    ]
    found = head.eval().scores(Batch({VECTORS: query}, {}))
    assert found.detach().numpy()[0] == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_cross_entropy_over_known_pairs():
    delta = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    reward = torch.tensor([[1.0, 0.0, 1.0], [0.25, 0.75, 0.0]])
    known = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    expected = np.zeros(2)
    for row, a, b in [(0, 0, 1), (0, 0, 2), (0, 1, 2), (1, 0, 1)]:
        chance = 1 / (1 + np.exp(float(delta[row, b] - delta[row, a])))
        target = (1 + float(reward[row, a] - reward[row, b])) / 2
        expected[row] -= target * np.log(chance) + (1 - target) * np.log(1 - chance)
    found = comparison_losses(delta, reward=reward, known=known)
    assert found.numpy() == pytest.approx(expected, rel=1e-5)


def test_noise_is_for_training_alone():
    quiet, noisy = network(), network(noise=0.5)
    batch = Batch({VECTORS: torch.randn(3, 5)}, {}, seed=7)
    same = quiet.eval().scores(batch)
    assert torch.equal(noisy.eval().scores(batch), same)
    assert torch.equal(noisy.train().scores(batch), noisy.scores(batch))
    assert not torch.allclose(noisy.scores(batch), same)
    other = Batch(batch.inputs, {}, seed=8)
    assert not torch.allclose(noisy.scores(other), noisy.scores(batch))


def test_each_task_goes_to_its_specialist(make_two_tasks):
    router = MatrixFactorisation(**FAST).fit(make_two_tasks(300), seed=0)
    prediction = router.predict(pl.Series([SUM, NUMERAL]))
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.completion_tokens == pytest.approx(np.array([[55, 110, 165]] * 2))


def test_a_pair_learns_the_order_of_its_queries(make_two_tasks):
    outcomes, fresh = make_two_tasks(300), make_two_tasks(100, seed=9)
    router = MatrixFactorisation(**PAIR, **FAST).fit(outcomes, seed=0)
    assert router.candidates == ("adder", "roman")
    reward = router.predict(fresh.texts).reward
    gain = reward[:, 0] - reward[:, 1]
    sums = fresh.tasks == "sums"
    assert gain[sums].min() > gain[~sums].max()


@pytest.mark.parametrize("seed", range(3))
def test_the_epoch_of_the_least_loss_is_kept(make_two_tasks, seed):
    # Labels without meaning: what the highest score earns goes up and down by chance.
    outcomes, validation = make_two_tasks(300, seed=seed), make_two_tasks(60, seed=90 + seed)
    for rows in (outcomes, validation):
        rows.reward[:] = np.random.default_rng(seed).permutation(rows.reward)
    method = MatrixFactorisation(**PAIR, **{**FAST, "epochs": 12, "patience": 12})
    trained = method.train(outcomes, validation=validation, seed=seed)
    reward = trained.router.predict(validation.texts).reward
    delta = (reward[:, 0] - reward[:, 1]) / trained.router.scale.slope
    target = (1 + validation.reward[:, 0] - validation.reward[:, 1]) / 2
    loss = np.logaddexp(0, -delta) * target + np.logaddexp(0, delta) * (1 - target)
    losses = trained.history.filter(metric="loss", split="validation")["value"]
    assert loss.mean() == pytest.approx(losses.min(), rel=1e-4)


def test_missing_cells_teach_nothing(make_two_tasks):
    outcomes = make_two_tasks(200)
    holes = replace(outcomes, reward=outcomes.reward.copy())
    holes.reward[::4, 0] = NAN
    holes.reward[1::4, 1] = NAN
    reward = MatrixFactorisation(**FAST).fit(holes, seed=0).predict(ASKED).reward
    assert np.isfinite(reward).all()
    assert reward[:2].argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("settings", [{}, PAIR])
def test_a_loaded_router_says_the_same_bit_for_bit(root, make_two_tasks, settings):
    method = MatrixFactorisation(**{**FAST, **settings, "epochs": 1})
    router = method.fit(make_two_tasks(60), seed=0)
    ids = tuple(f"id-{name}" for name in router.candidates)
    loaded = load_router(
        root, version=save_checkpoint(router, root, meta=CheckpointMeta(candidate_ids=ids))
    )
    assert isinstance(loaded, MatrixFactorisationRouter)
    assert np.array_equal(loaded.predict(ASKED).reward, router.predict(ASKED).reward)


def test_equal_seeds_are_equal_bit_for_bit(make_two_tasks):
    outcomes = make_two_tasks(60)
    method = MatrixFactorisation(**{**FAST, "epochs": 2})
    first, second, other = (method.fit(outcomes, seed=s).predict(ASKED).reward for s in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_what_a_pair_learned_carries_over(make_two_tasks):
    router = MatrixFactorisation(**PAIR, **{**FAST, "epochs": 1}).fit(make_two_tasks(60), seed=0)
    moved = transfer(router, strong="large", weak="small")
    assert np.array_equal(moved.predict(ASKED).reward, router.predict(ASKED).reward)


def test_one_candidate_is_worth_its_mean(make_outcomes):
    outcomes = make_outcomes(["a text", "b text", "c text"], ["t"] * 3, [[1.0], [0.0], [1.0]])
    reward = MatrixFactorisation(epochs=1).fit(outcomes, seed=0).predict(outcomes.texts).reward
    assert reward.mean() == pytest.approx(2 / 3, abs=1e-3)


def test_nothing_to_compare_is_refused(make_outcomes):
    reward = [[1.0, NAN, NAN], [NAN, 1.0, NAN], [NAN, NAN, 1.0]]
    outcomes = make_outcomes(["a text", "b text", "c text"], ["t"] * 3, reward)
    with pytest.raises(InputError, match="rewards of two candidates"):
        MatrixFactorisation(epochs=1).fit(outcomes, seed=0)


def test_rewards_out_of_range_are_refused(make_outcomes):
    outcomes = make_outcomes(["a text", "b text"], ["t"] * 2, [[1.0, 3.0], [1.0, 0.0]])
    with pytest.raises(InputError, match="min_max"):
        MatrixFactorisation(epochs=1).fit(outcomes, seed=0)


@pytest.mark.parametrize("settings", [{"noise": -0.1}, {"noise": float("inf")}, {"dropout": 1.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(ValidationError):
        MatrixFactorisation(**settings)

"""What the methods that train a network have in common, shown on each of them."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.fit import fit_method
from cluster.routers.gradient import HISTORY_SCHEMA
from cluster.routers.multihead import Multihead
from cluster.routers.routerdc import RouterDC
from cluster.routers.zooter import Zooter

QUICK = {"epochs": 6, "patience": 6, "batch_size": 32, "hidden": 16, "learning_rate": 0.01}
# Sharper losses than the defaults: the made-up rows are few.
METHODS = [RouterDC(temperature=0.2, **QUICK), Zooter(**QUICK), Multihead(**QUICK)]
SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None, "plus " * 3000])
META = CheckpointMeta(candidate_ids=("id-adder", "id-roman", "id-both"))

pytestmark = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@pytest.fixture
def train(make_two_tasks):
    """Train and validation rows of the two tasks, with holes."""
    rows = make_two_tasks(240)
    rows.reward[::9, 2] = np.nan
    rows.reward[5] = np.nan
    return rows, make_two_tasks(60, seed=1, split="validation")


@pytest.fixture
def trained(method, train):
    return method.train(train[0], validation=train[1], seed=3)


def files_of(router, where):
    save_checkpoint(router, str(where), meta=META)
    return {file.name: file.read_bytes() for file in where.iterdir()}


def rewrite(folder, **tensors):
    """Replace some weights, with their hash, as somebody would who means harm; None takes out."""
    from safetensors.numpy import load, save

    found = load((folder / "model.safetensors").read_bytes()) | tensors
    content = save({name: array for name, array in found.items() if array is not None})
    (folder / "model.safetensors").write_bytes(content)
    edit(folder, files={"model.safetensors": hashlib.sha256(content).hexdigest()})


def edit(folder, **parts):
    """Change entries of the manifest's fields."""
    manifest = json.loads((folder / "router.json").read_text())
    changed = {name: manifest[name] | part for name, part in parts.items()}
    (folder / "router.json").write_text(json.dumps(manifest | changed))


def test_each_task_goes_to_its_specialist(trained, make_two_tasks):
    asked = make_two_tasks(40, seed=7, split="test")
    prediction = trained.router.predict(asked.texts)
    expected = np.where(asked.tasks == "sums", 0, 1)
    assert (prediction.reward.argmax(axis=1) == expected).mean() > 0.9
    # In the rewards' unit: the specialist's chance is .9, the other's .1.
    best = prediction.reward[np.arange(40), expected]
    worst = prediction.reward[np.arange(40), 1 - expected]
    assert (best - worst).mean() > 0.3
    assert prediction.completion_tokens[0] == pytest.approx([55, 110, 165])


def test_the_history_has_a_line_an_epoch(trained):
    assert dict(trained.history.schema) == HISTORY_SCHEMA
    for split, metric in (("train", "loss"), ("validation", "loss"), ("validation", "score")):
        rows = trained.history.filter(pl.col("split") == split, pl.col("metric") == metric)
        assert rows["epoch"].to_list() == list(range(1, 7))
        assert rows["value"].is_finite().all()


def test_a_checkpoint_predicts_the_same_bit_for_bit(trained, root):
    version = save_checkpoint(trained.router, root, meta=META)
    loaded = load_router(root, version=version)
    before, after = trained.router.predict(ASKED), loaded.predict(ASKED)
    assert type(loaded) is type(trained.router)
    assert np.isfinite(before.reward).all()
    assert np.array_equal(before.reward, after.reward)
    assert np.array_equal(before.completion_tokens, after.completion_tokens, equal_nan=True)
    assert np.array_equal(trained.router.embed(ASKED), loaded.embed(ASKED))


def test_equal_seeds_give_equal_checkpoints_and_others_do_not(method, train, tmp_path):
    first, again, other = (
        files_of(
            method.train(train[0], validation=train[1], seed=seed).router, tmp_path / f"{place}"
        )
        for place, seed in enumerate([3, 3, 4])
    )
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_nothing_asked_is_nothing_answered(trained):
    nobody = pl.Series([], dtype=pl.String)
    assert trained.router.predict(nobody).reward.shape == (0, 3)
    assert len(trained.router.embed(nobody)) == 0


def test_queries_do_not_see_each_other(trained, monkeypatch):
    whole = trained.router.predict(ASKED).reward
    assert trained.router.predict(ASKED[:1]).reward == pytest.approx(whole[:1], abs=1e-6)
    monkeypatch.setattr("cluster.routers.network.QUERIES_AT_ONCE", 2)
    assert trained.router.predict(ASKED).reward == pytest.approx(whole, abs=1e-6)


def test_validation_rows_teach_nothing(method, train):
    """Their rewards choose the epoch; with a single epoch there is nothing to choose."""
    once = method.model_copy(update={"epochs": 1})
    turned = train[1].take(np.arange(len(train[1])))
    turned.reward[:] = 1 - turned.reward
    first, other = (
        once.train(train[0], validation=rows, seed=0).router.predict(ASKED).reward
        for rows in (train[1], turned)
    )
    assert np.array_equal(first, other)


def test_damage_is_told_in_words(trained, tmp_path):
    save_checkpoint(trained.router, str(tmp_path), meta=META)
    manifest = (tmp_path / "router.json").read_text()
    model = (tmp_path / "model.safetensors").read_bytes()
    bias = "head.projection.linear.bias"
    for tensors, words in (
        ({bias: None}, "weights of .* do not fit its settings.*linear.bias is None"),
        ({bias: np.zeros(3, np.float32)}, r"linear.bias is \(3,\), expected \(16,\)"),
        ({"head.another": np.zeros(3, np.float32)}, r"another is \(3,\), expected None"),
        ({"completion_tokens": np.zeros(4)}, "tensor 'completion_tokens'"),
    ):
        rewrite(tmp_path, **tensors)
        with pytest.raises(InputError, match=words):
            load_router(str(tmp_path))
        (tmp_path / "router.json").write_text(manifest)
        (tmp_path / "model.safetensors").write_bytes(model)
    for config, words in (
        ({"settings": {"hidden": 16, "another": 1}}, "settings of .*another"),
        ({"settings": {"hidden": -1}}, "settings of .*hidden"),
        ({"settings": None}, "config 'settings'"),
        ({"scale": {}}, "config 'offset'"),
    ):
        edit(tmp_path, config=config)
        with pytest.raises(InputError, match=words):
            load_router(str(tmp_path))
        (tmp_path / "router.json").write_text(manifest)


ODD = {
    "one candidate": (["t", "u"] * 10, np.tile([[1.0], [0.0]], (10, 1))),
    "one task": (["t"] * 20, np.tile([[1.0, 0.0], [0.0, 1.0]], (10, 1))),
    "all equal": (["t", "u"] * 10, np.full((20, 3), 0.5)),
    "all wrong": (["t", "u"] * 10, np.zeros((20, 3))),
    "all right": (["t", "u"] * 10, np.ones((20, 3))),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_rewards_have_finite_predictions(method, name, make_outcomes):
    tasks, reward = ODD[name]
    texts = [f"{task} number {row}" for row, task in enumerate(tasks)]
    outcomes = make_outcomes(texts, tasks, reward)
    longer = method.model_copy(update={"epochs": 60, "patience": 60})
    router = longer.train(outcomes, validation=outcomes, seed=0).router
    predicted = router.predict(outcomes.texts)
    assert predicted.reward.shape == reward.shape
    assert np.isfinite(predicted.reward).all()
    if name.startswith("all"):
        assert predicted.reward == pytest.approx(reward, abs=0.1)


@pytest.mark.parametrize("n", [1, 2, 120])
def test_equal_texts_and_a_handful_of_rows_can_be_learned_from(method, n, make_outcomes):
    outcomes = make_outcomes(["the same"] * n, ["t"] * n, [[0.0, 1.0]] * n)
    predicted = method.fit(outcomes, seed=0).predict(pl.Series(["the same"])).reward
    assert np.isfinite(predicted).all()
    assert predicted[0, 1] > predicted[0, 0]


def test_what_cannot_be_learned_from_is_refused(method, make_outcomes, make_two_tasks):
    nobody = make_outcomes(["a", "b"], ["t", "t"], [[0.5, np.nan], [0.5, np.nan]])
    with pytest.raises(InputError, match="'roman' has no reward"):
        method.train(nobody, validation=nobody, seed=0)
    rows = make_two_tasks(20)
    unknown = make_two_tasks(4)
    unknown.reward[:] = np.nan
    for validation in (unknown, unknown.take(np.zeros(4, bool))):
        with pytest.raises(InputError, match="no validation row has a reward"):
            method.train(rows, validation=validation, seed=0)
    with pytest.raises(InputError, match="no training rows"):
        method.train(rows.take(np.zeros(20, bool)), validation=rows, seed=0)


def test_settings_are_chosen_and_the_router_kept(method, train):
    fit = fit_method(
        method.name, train=train[0], validation=train[1], seed=0, fixed={**QUICK, "epochs": 2}
    )
    assert len(fit.trials) == len(method.grid()) > 1
    assert fit.router.settings == fit.settings
    assert fit.history["epoch"].max() <= 2

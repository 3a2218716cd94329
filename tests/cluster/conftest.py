"""Tiny pretrained models made on the spot: 2 layers, 32 dimensions, weights by lot."""

import pytest

WORDS = [
    *("what", "is", "plus", "write", "as", "a", "roman", "numeral", "case"),
    *("query", "grade", "win", "tie", "lose"),
]
LENGTH = 24


def save_tokenizer(folder, *, special, front=(), behind=(), limit=LENGTH):
    """Words, and characters for what is none; `special` tokens first, the first for padding."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    characters = [chr(code) for code in range(33, 127)]
    names = dict.fromkeys([*special, *characters, *WORDS])
    vocabulary = {token: place for place, token in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[1]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z]+|\S"), "removed", invert=True)
    around = [(token, vocabulary[token]) for token in (*front, *behind)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*front, "$A", *behind]), special_tokens=around
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special[0],
        unk_token=special[1],
        model_max_length=limit,
    ).save_pretrained(folder)
    return len(vocabulary)


def make_encoder(folder, *, kind, dropout):
    import transformers

    size = save_tokenizer(
        folder, special=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], front=["[CLS]"], behind=["[SEP]"]
    )
    shape = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "pad_token_id": 0,
    }
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if kind == "bert":
        config = transformers.BertConfig(**shape, **drops, max_position_embeddings=LENGTH)
    elif kind == "modernbert":
        config = transformers.ModernBertConfig(
            **shape, max_position_embeddings=LENGTH, embedding_dropout=dropout, local_attention=8
        )
    else:
        # As mDeBERTa-v3: no absolute positions, buckets of relative ones shared with the keys.
        config = transformers.DebertaV2Config(
            **shape,
            **drops,
            max_position_embeddings=LENGTH,
            relative_attention=True,
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
        )
    transformers.AutoModel.from_config(config).save_pretrained(folder)


def make_llama(folder):
    import transformers

    size = save_tokenizer(folder, special=["<pad>", "<unk>", "<s>"], front=["<s>"], limit=64)
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
        initializer_range=0.2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """Folder of a model: `bert`, `modernbert`, `deberta` or `llama`."""
    made = {}

    def folder_of(kind, *, dropout=0.1):
        import torch

        if (kind, dropout) not in made:
            folder = tmp_path_factory.mktemp(kind)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                if kind == "llama":
                    make_llama(folder)
                else:
                    make_encoder(folder, kind=kind, dropout=dropout)
            made[kind, dropout] = folder
        return str(made[kind, dropout])

    return folder_of

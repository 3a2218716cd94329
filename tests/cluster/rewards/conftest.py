"""Tiny reward models and judges, and real vLLM in a process of its own.

vLLM changes the process it lives in, so all scorers that need it run one after another in one
subprocess, as in a worker; the tests look at the tables it wrote.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

HERE = Path(__file__).parent
CHAT_TEMPLATE = "{% for m in messages %}[{{ m['role'][0] }}]{{ m['content'] }}<eos>{% endfor %}"
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "eos_token_id": 1,
    "bos_token_id": None,
    "pad_token_id": 0,
    "dtype": "float32",
}
ANSWERS = pl.Schema(
    {
        "query_id": pl.String(),
        "candidate_id": pl.String(),
        "candidate": pl.String(),
        "sample": pl.Int32(),
        "query": pl.String(),
        "text": pl.String(),
        "reference": pl.String(),
        "task": pl.String(),
        "messages": pl.String(),
        "outcome": pl.String(),
        "first_logprobs": pl.String(),
        "new": pl.Boolean(),
    }
)


def answers_of(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Answers as a scorer sees them; what a row does not say is as plain as can be."""
    plain = {"candidate_id": "id-a", "sample": 0, "task": "t", "outcome": "ok", "new": True}
    named = [plain | {"query_id": one["query"]} | dict(one) for one in rows]
    named = [{"candidate": one["candidate_id"].removeprefix("id-")} | one for one in named]
    return pl.DataFrame(named, schema=ANSWERS)


def save_characters(folder: Path, *, chat: bool = True) -> int:
    """A tokenizer with a token for each printable character; the size of its vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = CHAT_TEMPLATE if chat else None
    fast.save_pretrained(folder)
    return len(words)


def save_reward_llama(folder: Path, *, labels: int = 1, seed: int = 1, **changes: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    size = save_characters(folder, chat=changes.pop("chat", True))
    broken = changes.pop("broken", False)
    shape = SHAPE | {"max_position_embeddings": 128} | changes
    torch.manual_seed(seed)
    model = LlamaForSequenceClassification(LlamaConfig(vocab_size=size, num_labels=labels, **shape))
    if broken:
        model.score.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)


def last_token_model(folder: Path | None = None) -> Any:
    """A model shaped like Qwen2.5-Math-RM: two layers on every token; from a folder, or new."""
    import torch
    from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel

    class Qwen2ForRewardModel(Qwen2PreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            width = config.hidden_size
            self.model = Qwen2Model(config)
            self.score = torch.nn.Sequential(
                torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1)
            )
            self.post_init()

    if folder is not None:
        return Qwen2ForRewardModel.from_pretrained(folder)
    torch.manual_seed(2)
    shape = SHAPE | {"max_position_embeddings": 128, "vocab_size": 99}
    return Qwen2ForRewardModel(Qwen2Config(**shape))


def save_token_bert(folder: Path) -> None:
    """A head of one label on every token, in an architecture both engines have."""
    import torch
    from transformers import BertConfig, BertForTokenClassification

    size = save_characters(folder)
    torch.manual_seed(3)
    shape = {name: SHAPE[name] for name in ("hidden_size", "intermediate_size", "dtype")}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
    config = BertConfig(vocab_size=size, num_labels=1, pad_token_id=0, **shape, **heads)
    BertForTokenClassification(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def reward_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of models: `eos` pads with the end of a turn, `mute` has no chat template."""
    import torch

    folder = tmp_path_factory.mktemp("reward")
    with torch.random.fork_rng(devices=[]):
        save_reward_llama(folder / "plain")
        save_reward_llama(folder / "unpadded", pad_token_id=None)
        save_reward_llama(folder / "eos", pad_token_id=SHAPE["eos_token_id"])
        save_reward_llama(folder / "nan", broken=True)
        save_reward_llama(folder / "several", labels=3)
        save_reward_llama(folder / "mute", chat=False)
        save_token_bert(folder / "bert")
        save_characters(folder / "last")
        last_token_model().save_pretrained(folder / "last")
    return folder


Drive = Callable[[Mapping[str, tuple[str, dict[str, Any], pl.DataFrame]]], dict[str, Any]]


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Open scorers in a process of their own; `Rated` as frames and usage, by name."""

    def run(plan: Mapping[str, tuple[str, dict[str, Any], pl.DataFrame]]) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("drive")
        for name, (_, _, answers) in plan.items():
            answers.write_parquet(folder / f"{name}.answers")
        steps = [[name, method, settings] for name, (method, settings, _) in plan.items()]
        (folder / "plan.json").write_text(json.dumps(steps))
        command = [sys.executable, str(HERE / "drive.py"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return {
            name: {
                "ratings": pl.read_parquet(folder / f"{name}.ratings"),
                "battles": pl.read_parquet(folder / f"{name}.battles"),
                "usage": json.loads((folder / f"{name}.usage").read_text()),
            }
            for name in plan
        }

    return run


def save_judge(folder: Path, *, likes: str) -> None:
    """A model that wants to write the first of these characters it may, whatever it reads.

    All tokens look alike to it and no layer adds anything, so its logits are the same everywhere;
    a JSON schema decides which of them may come.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = save_characters(folder)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=size, **SHAPE | {"max_position_embeddings": 2048})
    )
    model.model.embed_tokens.weight.data.fill_(1.0)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    wish = torch.linspace(0, -1, size)
    wish[3:5] = -2.0  # JSON allows blanks without end
    for place, character in enumerate(likes):
        wish[ord(character) - 32 + 4] = float(len(likes) - place)
    model.lm_head.weight.data.copy_(wish[:, None].expand(-1, SHAPE["hidden_size"]) / 64)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives no reason, then the grade 4, or the verdict A."""
    folder = tmp_path_factory.mktemp("judge")
    save_judge(folder, likes='"4A')
    return folder

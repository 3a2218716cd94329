"""A causal language model to be trained, whole or through low-rank adapters; no pickle, no code.

LoRA: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. The base model
stays as it is, and a checkpoint of an adapter names it by a digest of its content.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cluster.encoders.pretrained import (
    UNREADABLE,
    Precision,
    architecture,
    no_progress_bar,
    only_architecture,
)
from cluster.errors import InputError


@dataclass(frozen=True)
class Adapter:
    """Low-rank matrices beside a model's own.

    Attributes:
        rank: of the matrices.
        alpha: their product counts alpha / rank.
        dropout: share of their input dropped in training.
        modules: names of the layers that have them; all linear ones but the last where empty.
    """

    rank: int
    alpha: int
    dropout: float
    modules: tuple[str, ...] = ()


def load_causal(folder: Path, *, precision: Precision) -> Any:
    """The model in a folder, without dropout as yet.

    Raises:
        InputError: it has no safetensors, or is not a causal language model in plain weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if not weight_files(folder):
        raise InputError(
            f"{folder}: no safetensors; expected a causal language model with model.safetensors "
            "(pickled weights are never loaded: save it anew with save_pretrained)"
        )
    config = read_config(folder)
    try:
        with no_progress_bar(), torch.random.fork_rng(devices=[]):
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                config=type(config).from_dict(architecture(config)),
                dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (*UNREADABLE, SafetensorError) as error:
        raise InputError(f"{folder}: not a causal language model ({error})") from error
    if found["missing_keys"]:
        raise InputError(
            f"{folder}: the weights lack {len(found['missing_keys'])} tensors of "
            f"{type(model).__name__}, {min(found['missing_keys'])} among them"
        )
    return model.eval()


def read_config(folder: Path) -> Any:
    """The configuration of the model in a folder.

    Raises:
        InputError: it cannot be read, or its weights are quantised.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"{folder}: not a model that can be read ({error})") from error
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"{folder}: holds quantised weights; expected plain ones")
    return config


def load_tokenizer(folder: Path) -> tuple[Any, int]:
    """The `tokenizers.Tokenizer` in a model's folder, and how many tokens the model takes.

    Raises:
        InputError: there is none that is read without running its code.
    """
    from transformers import AutoTokenizer

    config = read_config(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"{folder}: no tokenizer that can be read ({error})") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        raise InputError(f"{folder}: its tokenizer has no tokenizer.json; expected a fast one")
    positions = getattr(config, "max_position_embeddings", None)
    limits = [int(tokenizer.model_max_length), positions if isinstance(positions, int) else 10**9]
    return backend, min(limits)


def rebuild_causal(config: Mapping[str, Any], *, precision: Precision) -> Any:
    """A model of this configuration, its weights as yet by chance.

    Raises:
        InputError: the configuration is of no known causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    known = only_architecture(config)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        spec = AutoConfig.for_model(known.pop("model_type", ""), **known)
        with torch.random.fork_rng(devices=[]):
            model = AutoModelForCausalLM.from_config(spec, dtype=dtype, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"damaged checkpoint: base model's config: {error}") from error
    return model.eval()


def with_adapter(model: Any, adapter: Adapter) -> Any:
    """The model with matrices beside its own, which alone are trained; the first ones by chance.

    Raises:
        InputError: it has no layers of these names.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.modules) or "all-linear",
    )
    try:
        return get_peft_model(model, config).get_base_model()
    except ValueError as error:
        raise InputError(f"setting 'lora_modules': {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def content_digest(folder: Path) -> str:
    """sha256 in hex of a model's weights and architecture.

    Raises:
        InputError: its configuration cannot be read.
    """
    digest = hashlib.sha256(json.dumps(architecture(read_config(folder)), sort_keys=True).encode())
    for path in weight_files(folder):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def all_trained(model: nn.Module) -> Any:
    """The model, every weight of which is trained."""
    return model.requires_grad_(True)

"""The base model of a causal-LLM classifier: what a checkpoint knows it by, and how it comes back.

A model that was trained whole comes back from the checkpoint alone. An adapter needs the base it
was trained on, which is looked up where it was and must have the same content: with another one
its matrices would mean nothing, and nobody would notice.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.encoders.pretrained import Precision, architecture, find_folder
from cluster.errors import InputError
from cluster.state import State, Tensors

if TYPE_CHECKING:
    from cluster.routers.causal_lm import CausalLM

TOKENIZER_FILE = "tokenizer.json"


def base_facts(
    settings: "CausalLM", *, folder: Path, limit: int, precision: Precision
) -> dict[str, Any]:
    """What a base model is known by: JSON values.

    `limit`, tokens it takes; `precision`, of its arithmetic; and `digest` of its content for an
    adapter, which needs it again, or its `architecture` for a model trained whole.
    """
    from cluster.training.base_model import content_digest, read_config

    facts: dict[str, Any] = {"limit": limit, "precision": precision}
    if settings.adapter == "lora":
        return facts | {"digest": content_digest(folder)}
    return facts | {"architecture": architecture(read_config(folder))}


def rebuilt(
    settings: "CausalLM", *, base: dict[str, Any], label_ids: list[int], weights: Tensors
) -> Any:
    """The trained network, to be asked.

    Raises:
        InputError: the base model is gone or another one, or the weights do not fit it.
    """
    import torch

    model = base_model(settings, base=base)
    with torch.random.fork_rng(devices=[]):
        network = settings.on_model(model, label_ids=label_ids)
    wanted = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    found = {name: tuple(array.shape) for name, array in weights.items()}
    if wanted != found:
        wrong = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise InputError(
            "damaged checkpoint: the weights of 'causal_lm' do not fit its base model: "
            + ", ".join(f"{k} is {found.get(k)}, expected {wanted.get(k)}" for k in wrong[:3])
        )
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    return network.requires_grad_(False).eval().to("cuda" if torch.cuda.is_available() else "cpu")


def base_model(settings: "CausalLM", *, base: dict[str, Any]) -> Any:
    """The base of adapters as it was trained on, or the frame of a whole model.

    Raises:
        InputError: it is gone, or its content is another.
    """
    from cluster.training.base_model import content_digest, load_causal, rebuild_causal

    precision: Precision = "bf16" if base.get("precision") == "bf16" else "fp32"
    if settings.adapter == "full":
        stored = State(base).value("architecture", dict)
        return rebuild_causal(stored, precision=precision)
    folder = find_folder(settings.model, revision=settings.revision)
    digest = content_digest(folder)
    if digest != base.get("digest"):
        raise InputError(
            f"{folder}: the base model's content is not what the adapter was trained on (digest "
            f"{digest[:12]}, expected {str(base.get('digest'))[:12]}); bring back the model as it "
            "was, or train anew"
        )
    return load_causal(folder, precision=precision)


def read_tokenizer(state: State) -> Any:
    """The stored `tokenizers.Tokenizer`.

    Raises:
        InputError: it is missing or cannot be read.
    """
    from tokenizers import Tokenizer

    text = state.text(TOKENIZER_FILE)
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing more exact
        raise InputError(f"damaged checkpoint: {TOKENIZER_FILE}: {error}") from error

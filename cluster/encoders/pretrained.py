"""A pretrained model: from a folder or a hub, and back from the parts a checkpoint keeps.

Only safetensors and JSON are read; code that comes with a model is never run.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cluster.errors import InputError
from cluster.state import State, Tensors

Precision = Literal["fp32", "bf16"]

LOG = logging.getLogger("signalbox.encoder")

HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
# What a configuration may hold beside the architecture: where it came from, code to fetch, and
# kernels to fetch, which are code as well.
NOT_ARCHITECTURE = frozenset(
    {
        "_name_or_path",
        "_commit_hash",
        "transformers_version",
        "architectures",
        "auto_map",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation",
        "experts_implementation",
        "dtype",
        "torch_dtype",
    }
)
# transformers tells by exceptions of these kinds that a folder is not what it can read.
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, AttributeError)


@dataclass(frozen=True)
class Pretrained:
    """A model and its tokenizer.

    Attributes:
        model: a transformers model in fp32, without the head that pools.
        tokenizer: a `tokenizers.Tokenizer`.
        limit: tokens it takes at most by its own configuration.
    """

    model: Any
    tokenizer: Any
    limit: int


def find_folder(model: str, *, revision: str | None) -> Path:
    """The local folder of a model; one of a hub is fetched, or found where it was kept before.

    Raises:
        InputError: there is no such folder, or the hub does not give it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            LOG.warning(
                "%s: revision %s is of a hub's model; a folder is as it is", model, revision
            )
        return folder
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise InputError(f"encoder model '{model}': no such folder")
    try:
        found = snapshot_download(model, revision=revision, allow_patterns=list(HUB_FILES))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise InputError(
            f"encoder model '{model}': neither a local folder nor to be had from the hub "
            f"({_first_line(error)}); name a folder that holds it"
        ) from error
    return Path(found)


def load_pretrained(folder: Path) -> Pretrained:
    """The model in a folder.

    Raises:
        InputError: it has no safetensors or no tokenizer, or is not a text encoder.
    """
    from transformers import AutoConfig, AutoTokenizer

    if not any(folder.glob("*.safetensors")):
        pickled = any([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")])
        only = "only pickled weights, which are never loaded" if pickled else "no weights"
        raise InputError(
            f"{folder}: {only}; expected model.safetensors (save the model anew with "
            "save_pretrained to get it)"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(
            f"{folder}: not a model with a tokenizer that can be read without running its own "
            f"code ({_first_line(error)})"
        ) from error
    _require_encoder(config, where=str(folder))
    model = _load_weights(folder, config=config)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        raise InputError(f"{folder}: its tokenizer has no tokenizer.json; expected a fast one")
    limit = token_limit(model, tokenizer_limit=tokenizer.model_max_length)
    return Pretrained(model, backend, limit)


def _load_weights(folder: Path, *, config: Any) -> Any:
    """The model in fp32.

    Raises:
        InputError: the weights are damaged, or some are missing.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        with no_progress_bar(), torch.random.fork_rng(devices=[]):
            model, found = AutoModel.from_pretrained(
                folder,
                config=type(config).from_dict(architecture(config)),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (*UNREADABLE, SafetensorError) as error:
        raise InputError(f"{folder}: cannot be loaded ({_first_line(error)})") from error
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise InputError(
            f"{folder}: the weights lack {len(missing)} tensors of {type(model).__name__}, "
            f"{missing[0]} among them; is this an encoder's folder?"
        )
    return without_pooler(model)


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar, one a loaded model, out of a job's log."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def without_pooler(model: Any) -> Any:
    """The model without the head for sentence pairs, which many folders lack and nobody asks."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model.eval()


def _require_encoder(config: Any, *, where: str) -> None:
    """Refuse what has no vector a token of a text.

    Raises:
        InputError: it is an encoder-decoder, quantised, or not a model of text.
    """
    fault = None
    if getattr(config, "is_encoder_decoder", False):
        fault = "is an encoder-decoder"
    elif getattr(config, "quantization_config", None) is not None:
        fault = "holds quantised weights"
    elif getattr(config, "hidden_size", None) is None:
        fault = "is not a model of text"
    if fault:
        raise InputError(
            f"{where}: a model of type '{config.model_type}' {fault}; expected a text encoder "
            "(BERT, RoBERTa, ModernBERT, MiniLM, ...)"
        )


def token_limit(model: Any, *, tokenizer_limit: int) -> int:
    """Tokens a model takes: the smaller of its positions and what its tokenizer says."""
    limits = [tokenizer_limit]
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - reserved_positions(model))
    # A tokenizer without a limit says 1e30; 512 is what nearly every encoder was trained on.
    limit = min(limits)
    return limit if limit < 10**9 else 512


def reserved_positions(model: Any) -> int:
    """Positions that are not for tokens: RoBERTa counts from its padding's id + 1 on."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings"):
            padding = getattr(module, "padding_idx", None)
            return 0 if padding is None else int(padding) + 1
    return 0


def architecture(config: Any) -> dict[str, Any]:
    """A model's configuration as JSON values, without paths, versions, code or kernels."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    return only_architecture(plain)


def only_architecture(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration's values is architecture, at any depth."""
    return {
        name: only_architecture(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name not in NOT_ARCHITECTURE
    }


def weights_of(model: Any) -> Tensors:
    """The model's weights as arrays: fp16 where that says it exactly, fp32 otherwise."""
    return {
        name: _smallest(weight.detach().float().cpu().numpy())
        for name, weight in model.state_dict().items()
        if weight.is_floating_point()
    }


def _smallest(array: Any) -> Any:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array


def rebuild_model(config: Mapping[str, Any], weights: State) -> Any:
    """The inverse of `architecture` and `weights_of`, offline; the random state stays as it was.

    Raises:
        InputError: the configuration is of no known model, or a tensor does not fit it.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    known = only_architecture(config)
    try:
        spec = AutoConfig.for_model(known.pop("model_type", ""), **known)
        _require_encoder(spec, where="damaged checkpoint")
        with torch.random.fork_rng(devices=[]):
            model = AutoModel.from_config(spec, dtype=torch.float32, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"damaged checkpoint: encoder config: {_first_line(error)}") from error
    model = without_pooler(model)
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if weight.is_floating_point():
                stored = weights.tensor(name, shape=tuple(weight.shape))
                weight.copy_(torch.from_numpy(stored.astype(np.float32)))
    return model


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file.

    Raises:
        InputError: the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object")
    return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__

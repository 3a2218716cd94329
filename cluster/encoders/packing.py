"""Texts one behind the other in one row, without padding: each attends to its own tokens alone.

transformers lets a model's attention be replaced by name; everything else in a model works token by
token and does not see where a text ends.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LOG = logging.getLogger("signalbox.encoder")

ATTENTION = "signalbox_packed"

# Up to so many tokens a text, bf16 products with a softmax between them take half the time that
# torch's own attention takes on a CPU: 3.3 ms for 2,048 tokens in texts of 128, against 7.0.
SHORT = 512

# Token ids of the texts a model is tried with, as shares of its vocabulary.
TRIAL = ((0.3, 0.7, 0.2), (0.9, 0.1, 0.5, 0.6, 0.4), (0.8, 0.2), (0.55, 0.15))
# Another order of sums moves an fp32 state by 1e-6 of its size; a text that sees its neighbour in
# a model by chance moves by 1e-3.
SAME = 2e-5


@dataclass(frozen=True)
class Packing:
    """Where the texts of a row end.

    Attributes:
        lengths: (n,) int64 tokens of each text, on the device.
        borders: (n + 1,) int32 where each begins, and where the last one ends, on the device.
        groups: (texts, tokens of each) of neighbours of one length, in order.
        longest: tokens of the longest.
    """

    lengths: Any
    borders: Any
    groups: tuple[tuple[int, int], ...]
    longest: int


def groups_of(lengths: npt.NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """(texts, tokens of each) of neighbours of one length."""
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(starts, append=len(lengths))
    return tuple(zip(counts.tolist(), lengths[starts].tolist(), strict=True))


def packing_of(lengths: Sequence[int] | npt.NDArray[np.int64]) -> Packing:
    """The packing of texts of these lengths, on the CPU."""
    import torch

    array = np.asarray(lengths, dtype=np.int64)
    borders = torch.from_numpy(np.concatenate([[0], np.cumsum(array)]).astype(np.int32))
    return Packing(torch.from_numpy(array), borders, groups_of(array), int(array.max()))


def use_packed_attention(model: Any) -> None:
    """Let the model's attention obey a `packing` it is called with; without one it is as before.

    Raises:
        ValueError: its attention cannot be replaced.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, mask_of)
    model.set_attn_implementation(ATTENTION)


def mask_of(**asked: Any) -> Any:
    """As transformers makes a mask for torch's attention; none where nothing is to be masked.

    Of 131,072 tokens in a row it would have 17 billion entries.
    """
    from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

    sees_all = asked.get("mask_function") is bidirectional_mask_function
    return None if sees_all and asked.get("attention_mask") is None else sdpa_mask(**asked)


def packed_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    packing: Packing | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Any, None]:
    """As transformers calls an attention: (1, heads, tokens, d) each → (1, tokens, heads, d).

    Raises:
        ValueError: it is to be causal, within a window, or with shared heads, which the packed form
            is not.
    """
    if packing is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Any, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return found
    if (
        attention_mask is not None
        or getattr(module, "is_causal", False)
        or options.get("sliding_window") is not None
        or key.shape[1] != query.shape[1]
    ):
        raise ValueError(f"the attention of {type(module).__name__} has no packed form")
    attend = _attend_on_gpu if query.is_cuda else _attend_by_groups
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query[0], key[0], value[0], packing=packing, scale=scale)[None], None


def _attend_on_gpu(query: Any, key: Any, value: Any, *, packing: Packing, scale: float) -> Any:
    """(heads, tokens, d) each → (tokens, heads, d), by flash attention over all texts at once."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (states.transpose(0, 1) for states in (query, key, value))
    usual = q.shape[-1] ** -0.5
    if scale != usual:
        q = q * (scale / usual)
    borders, longest = packing.borders, packing.longest
    return varlen_attn(q, k, v, borders, borders, longest, longest)


def _attend_by_groups(query: Any, key: Any, value: Any, *, packing: Packing, scale: float) -> Any:
    """The same, texts of one length at a time."""
    import torch

    found, start = [], 0
    for texts, tokens in packing.groups:
        end = start + texts * tokens
        q, k, v = (
            states[:, start:end].unflatten(1, (texts, tokens)).transpose(0, 1)
            for states in (query, key, value)
        )
        attended = _attend(q, k, v, scale=scale)
        found.append(attended.transpose(1, 2).reshape(end - start, *attended.shape[1::2]))
        start = end
    return torch.cat(found)


def _attend(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    """(texts, heads, tokens, d) each → the same."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if query.dtype != torch.bfloat16 or query.shape[2] > SHORT:
        return scaled_dot_product_attention(query, key, value, scale=scale)
    weights = torch.matmul(query * scale, key.transpose(2, 3)).softmax(dim=-1)
    return torch.matmul(weights, value)


def can_be_packed(model: Any, *, reserved: int) -> bool:
    """Whether a model says the same of texts that are packed, told by trying; it is in fp32.

    Its attention is replaced (`use_packed_attention`) if it can be. Why a model cannot be packed is
    logged: it is then padded, which costs time and changes no vector.

    Args:
        model: on the CPU, in fp32.
        reserved: positions before that of a text's first token.
    """
    import torch

    vocabulary = model.config.vocab_size
    texts = [[int(share * vocabulary) for share in shares] for shares in TRIAL]
    try:
        with torch.inference_mode():
            alone = [model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in texts]
            use_packed_attention(model)
            packed = model(
                input_ids=torch.tensor([[token for ids in texts for token in ids]]),
                position_ids=torch.cat([torch.arange(len(ids)) for ids in texts])[None] + reserved,
                packing=packing_of([len(ids) for ids in texts]),
            ).last_hidden_state[0]
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
        LOG.info("%s is run padded, not packed: %s", type(model).__name__, error)
        return False
    expected = torch.cat(alone)
    off = float((packed - expected).norm() / expected.norm())
    if not off <= SAME:  # NaN is no agreement either
        LOG.info("%s is run padded, not packed: packed is off by %.1e", type(model).__name__, off)
    return off <= SAME

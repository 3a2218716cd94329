"""Token states → one vector a text: the mean, the first token's or the last one's, of length 1."""

from typing import Any, Literal

from cluster.encoders.packing import Packing

Pooling = Literal["mean", "cls", "last"]

SHORTEST = 1e-12


def pool(states: Any, mask: Any, *, how: Pooling) -> Any:
    """(n, d) float32, L2-normalised rows.

    Sums are in fp32 whatever the states are in: 256 additions in bf16 lose half of its 8 bits.

    Args:
        states: (n, tokens, d), the last hidden states.
        mask: (n, tokens), 1 where there is a token; padding stands behind the tokens.
        how: `mean` over the tokens, the first (`cls`) or the `last` of them.
    """
    return unit(POOLINGS[how](states.float(), mask))


def pool_packed(states: Any, packing: Packing, *, how: Pooling) -> Any:
    """The same of texts one behind the other: (tokens, d) → (n, d) float32."""
    import torch

    if how == "mean":
        # Said to be sound, lengths are not looked at: a GPU would have to wait for that.
        pooled = torch.segment_reduce(
            states.float(), "mean", lengths=packing.lengths, axis=0, unsafe=True
        )
    else:
        places = packing.borders[:-1] if how == "cls" else packing.borders[1:] - 1
        pooled = states[places].float()
    return unit(pooled)


def unit(vectors: Any) -> Any:
    """Rows of length 1."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=SHORTEST)


def mean_token(states: Any, mask: Any) -> Any:
    """(n, d): the mean over each text's tokens."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def first_token(states: Any, mask: Any) -> Any:  # noqa: ARG001 - no text has padding in front
    """(n, d): the first token's state."""
    return states[:, 0]


def last_token(states: Any, mask: Any) -> Any:
    """(n, d): the state of each text's last token."""
    rows = mask.new_tensor(range(len(mask)))
    return states[rows, (mask.sum(dim=1) - 1).clamp(min=0)]


POOLINGS = {"mean": mean_token, "cls": first_token, "last": last_token}

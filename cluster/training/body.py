"""A pretrained encoder's own model as part of a network, so that it is trained along.

Its vectors are those of the encoder: the same pooling, the same length of 1. So a head that was
trained on the body works on the encoder with the body's weights.
"""

import polars as pl
from torch import Tensor, nn

from cluster.encoders.encoder import Encoder
from cluster.encoders.huggingface import FittedHuggingFace, HuggingFaceEncoder
from cluster.encoders.pooling import Pooling, pool
from cluster.errors import InputError
from cluster.training.examples import TOKENS, VECTORS
from cluster.training.network import Batch, Network
from cluster.training.plan import BODY


class Body(nn.Module):
    """Token ids → vectors."""

    def __init__(self, encoder: FittedHuggingFace, *, pooling: Pooling) -> None:
        """`encoder`: in fp32; its model is trained from now on."""
        super().__init__()
        self.model = encoder.model.requires_grad_(True)
        self.padding = encoder.padding
        self.pooling = pooling

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(n, d) float32 of norm 1; zeros for rows without a token.

        Args:
            tokens, mask: (n, longest), as in `Batch.inputs`.
        """
        known = mask.any(dim=1, keepdim=True)
        # A row without any token would attend to nothing, which is not a number.
        seen = mask.clone()
        seen[:, :1] |= (~known).long()
        states = self.model(
            input_ids=tokens.masked_fill(mask == 0, self.padding), attention_mask=seen
        ).last_hidden_state
        return pool(states, seen, how=self.pooling) * known


class TunedNetwork(Network):
    """A method's network on a body."""

    def __init__(self, body: Body, head: Network) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.judged_by_loss = head.judged_by_loss

    def read(self, batch: Batch) -> Batch:
        """The batch with `vectors` in place of tokens."""
        if VECTORS in batch.inputs:
            return batch
        vectors = self.body(batch.inputs[TOKENS], batch.inputs["mask"])
        return Batch({VECTORS: vectors}, batch.labels, batch.seed)

    def forward(self, batch: Batch) -> Tensor:
        """The head's loss."""
        loss: Tensor = self.head(self.read(batch))
        return loss

    def scores(self, batch: Batch) -> Tensor:
        """(n, n_candidates): the head's."""
        return self.head.scores(self.read(batch))

    def is_pretrained(self, name: str) -> bool:
        """Whether it is one of the body's."""
        return name.startswith(BODY)


def load_body(encoder: Encoder, *, checkpointing: bool) -> Body:
    """The encoder's model, in fp32 with dropout, to be trained.

    Weights that are updated by a small learning rate need all of fp32; arithmetic in bf16 is the
    loop's business.

    Raises:
        InputError: the encoder is not a pretrained one, or cannot be loaded or checkpointed.
    """
    assert isinstance(encoder, HuggingFaceEncoder), "only a pretrained encoder is tuned"
    in_full = encoder.model_copy(update={"precision": "fp32"})
    fitted = in_full.fit(pl.Series([], dtype=pl.String), seed=0)
    assert fitted.settings.pooling is not None, "a fitted encoder has decided on its pooling"
    if checkpointing:
        save_memory(fitted.model, where=encoder.model)
    return Body(fitted, pooling=fitted.settings.pooling)


def save_memory(model: nn.Module, *, where: str) -> None:
    """Turn gradient checkpointing on.

    Raises:
        InputError: the model has none.
    """
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(
            f"{where}: the model has no gradient checkpointing; leave gradient_checkpointing out"
        ) from error

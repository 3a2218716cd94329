"""RouteLLM's causal-LLM classifier (ICLR 2025, arXiv 2406.18665, section 4.2.4)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cluster.training.examples import TOKENS
from cluster.training.network import Batch, Network, in_fp32

LOGITS = "logits"


class CausalLMNetwork(Network):
    """P(label | q): softmax over the labels' next tokens alone.

    Only the label tokens' rows of the last layer are multiplied, and in fp32: in bf16 a logit of
    10 is rounded to 0.06, and queries would tie that do not. A last layer's scaling and capping of
    its logits (Gemma's) is left out; what is trained does without.

    Batch labels: `label` (n,), the number of the label. The scores are P(strong wins), the sum of
    P(label) times what the label is worth, and 1 − P.
    """

    # As of `BertNetwork`.
    judged_by_loss = True

    def __init__(self, model: Any, *, label_ids: Sequence[int], worth: Sequence[float]) -> None:
        """`model`: a transformers model whose trained weights ask for a gradient."""
        super().__init__()
        self.model = model
        self.label_ids = list(label_ids)
        self.worth = list(worth)
        self._trained = {name for name, weight in self.named_parameters() if weight.requires_grad}

    def read(self, batch: Batch) -> Batch:
        """The batch with the labels' `logits`, (n, n_labels), in place of tokens."""
        if LOGITS in batch.inputs:
            return batch
        return Batch({LOGITS: self._logits(batch)}, batch.labels, batch.seed)

    def _logits(self, batch: Batch) -> Tensor:
        mask = batch.inputs["mask"]
        decoder, last = self.model.get_decoder(), self.model.get_output_embeddings()
        states = decoder(
            input_ids=batch.inputs[TOKENS], attention_mask=mask, use_cache=False
        ).last_hidden_state
        ends = mask.sum(dim=1) - 1
        found = states[torch.arange(len(ends), device=ends.device), ends]
        with in_fp32(found):
            rows = last.weight[self.label_ids].float()
            bias = getattr(last, "bias", None)
            shift = 0.0 if bias is None else bias[self.label_ids].float()
            logits: Tensor = found.float() @ rows.T + shift
        return logits

    def scores(self, batch: Batch) -> Tensor:
        """(n, 2): how likely the strong candidate wins, and the weak one."""
        logits = self.read(batch).inputs[LOGITS]
        chance = functional.softmax(logits, dim=1) @ logits.new_tensor(self.worth)
        return torch.stack([chance, 1 - chance], dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Cross-entropy over the label tokens, the mean over queries."""
        return functional.cross_entropy(self.read(batch).inputs[LOGITS], batch.labels["label"])

    def is_pretrained(self, name: str) -> bool:
        """Whether it is one of the base model's own weights."""
        return ".lora_" not in name

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The weights that are trained; those of a base that stays are not ours to keep."""
        found = super().state_dict(*args, **kwargs)
        start = kwargs.get("prefix", "")
        return {k: v for k, v in found.items() if k.removeprefix(start) in self._trained}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """The inverse of `state_dict`."""
        wanted = self.state_dict().keys()
        assert not strict or wanted == state_dict.keys(), "other weights than those trained"
        return super().load_state_dict(state_dict, strict=False, assign=assign)

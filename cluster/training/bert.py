"""RouteLLM's BERT classifier (ICLR 2025, arXiv 2406.18665, section 4.2.3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cluster.training.network import Batch, in_fp32
from cluster.training.projection import VectorNetwork


class BertNetwork(VectorNetwork):
    """P(strong wins | q) = sigmoid(w · h(q) + b), with h(q) from the pooled state of the query.

    Batch labels: `win` (n,), between 0 and 1. The scores are P and 1 − P.
    """

    # Sending nearly all to the strong one scores highest, and says nothing of the queries' order.
    judged_by_loss = True

    def __init__(self, *, dimensions: int, hidden: int, dropout: float) -> None:
        super().__init__(dimensions, hidden=hidden, dropout=dropout)
        self.classifier = nn.Linear(hidden, 1)

    def logits(self, batch: Batch) -> Tensor:
        """(n,)."""
        queries = self.embed(batch)
        with in_fp32(queries):
            logits: Tensor = self.classifier(queries.float())[:, 0]
        return logits

    def scores(self, batch: Batch) -> Tensor:
        """(n, 2): how likely the strong candidate wins, and the weak one."""
        chance = torch.sigmoid(self.logits(batch))
        return torch.stack([chance, 1 - chance], dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, the mean over queries."""
        return functional.binary_cross_entropy_with_logits(self.logits(batch), batch.labels["win"])

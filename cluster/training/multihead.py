"""A head a candidate: how likely each is right, with candidates as low-rank vectors."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cluster.training.network import Batch, in_fp32
from cluster.training.projection import VectorNetwork


class MultiheadNetwork(VectorNetwork):
    """logit(q, c) = u_c · P(q) + b_c, with P(q) and u_c of a few dimensions.

    Batch labels: `reward` (n, n_candidates) in [0, 1], and `known` (n, n_candidates), 1 where the
    cell is; `cells_a_row` and `pairs_a_row` (n,), the mean over all training rows of the number of
    known cells and of the pairs' weights: what turns sums into means, the same for every row.
    """

    judged_by_loss = True

    def __init__(
        self,
        *,
        n_candidates: int,
        dimensions: int,
        hidden: int,
        dropout: float,
        rank: int,
        ranking_weight: float,
    ) -> None:
        super().__init__(dimensions, hidden=hidden, dropout=dropout)
        self.reduce = nn.Linear(hidden, rank, bias=False)
        self.candidates = nn.Parameter(torch.randn(n_candidates, rank) * rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_candidates))
        self.ranking_weight = ranking_weight

    def logits(self, batch: Batch) -> Tensor:
        """(n, n_candidates)."""
        queries = self.embed(batch)
        with in_fp32(queries):
            reduced: Tensor = self.reduce(queries.float())
            return reduced @ self.candidates.T + self.bias

    def scores(self, batch: Batch) -> Tensor:
        """(n, n_candidates): expected rewards in [0, 1]."""
        return torch.sigmoid(self.logits(batch))

    def forward(self, batch: Batch) -> Tensor:
        """Soft binary cross-entropy over known cells, plus the ranking term."""
        labels, logits = batch.labels, self.logits(batch)
        reward, known = labels["reward"], labels["known"]
        cells = functional.binary_cross_entropy_with_logits(logits, reward, reduction="none")
        loss: Tensor = ((cells * known).sum(dim=1) / labels["cells_a_row"]).mean()
        if self.ranking_weight == 0:
            return loss
        ranked = ranking_losses(logits, reward=reward, known=known) / labels["pairs_a_row"]
        return loss + self.ranking_weight * ranked.mean()


def ranking_losses(logits: Tensor, *, reward: Tensor, known: Tensor) -> Tensor:
    """(n,): sum over the row's pairs of candidates of log(1 + e^{−(z_better − z_worse)}).

    Weighted by how differently the two did. Cross-entropy is content with every candidate's mean,
    which sends all queries to one; the pairs ask who is better here.
    """
    gap = (reward[:, :, None] - reward[:, None, :]).clamp_min(0)
    weight = gap * known[:, :, None] * known[:, None, :]
    lost = functional.softplus(logits[:, None, :] - logits[:, :, None])
    return (weight * lost).sum(dim=(1, 2))

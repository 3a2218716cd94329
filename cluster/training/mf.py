"""RouteLLM's matrix factorisation (ICLR 2025, arXiv 2406.18665, section 4.2.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cluster.training.examples import VECTORS
from cluster.training.network import Batch, Network, in_fp32


class MatrixFactorisationNetwork(Network):
    """delta(M, q) = w2ᵀ( v_M ⊙ (W1ᵀ v_q + b) ), with v_M of norm 1.

    Batch labels: `reward` (n, n_candidates) between 0 and 1, `known` (n, n_candidates), 1 where
    the cell is, and `pairs_a_row` (n,), the mean over all training rows of the number of known
    pairs: what turns sums over pairs into means, the same for every row.
    """

    judged_by_loss = True

    def __init__(
        self, *, n_candidates: int, dimensions: int, hidden: int, dropout: float, noise: float
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(dimensions, hidden)
        self.dropout = nn.Dropout(dropout)
        self.candidates = nn.Parameter(torch.randn(n_candidates, hidden))
        self.readout = nn.Parameter(torch.randn(hidden) * hidden**-0.5)
        self.noise = noise

    def embed(self, batch: Batch) -> Tensor:
        """(n, hidden): W1ᵀ v_q + b; in training v_q with noise on it."""
        vectors = batch.inputs[VECTORS]
        with in_fp32(vectors):
            queries = vectors.float()
            if self.training and self.noise > 0:
                drawn = torch.randn(queries.shape, generator=batch.generator())
                queries = queries + self.noise * drawn.to(queries.device)
            embedded: Tensor = self.dropout(self.projection(queries))
        return embedded

    def scores(self, batch: Batch) -> Tensor:
        """(n, n_candidates): delta."""
        queries = self.embed(batch)
        with in_fp32(queries):
            candidates = functional.normalize(self.candidates, dim=-1) * self.readout
            delta: Tensor = queries @ candidates.T
        return delta

    def forward(self, batch: Batch) -> Tensor:
        """Binary cross-entropy of sigmoid(delta(a) − delta(b)), the mean over pairs."""
        labels = batch.labels
        lost = comparison_losses(self.scores(batch), reward=labels["reward"], known=labels["known"])
        return (lost / labels["pairs_a_row"]).mean()


def comparison_losses(delta: Tensor, *, reward: Tensor, known: Tensor) -> Tensor:
    """(n,): sum over the row's known pairs of −t log P(a beats b) − (1 − t) log P(b beats a).

    The target t = (1 + r_a − r_b) / 2 makes half a win of a tie. Summed over both orders of a
    pair, t_ab · log P(a beats b) is the whole of it.

    Args:
        delta: (n, n_candidates).
        reward: (n, n_candidates), between 0 and 1; missing cells may hold anything finite.
        known: (n, n_candidates), 1 or 0.
    """
    target = (1 + reward[:, :, None] - reward[:, None, :]) / 2
    others = 1 - torch.eye(delta.shape[1], device=delta.device)
    weight = target * known[:, :, None] * known[:, None, :] * others
    lost: Tensor = weight * functional.softplus(delta[:, None, :] - delta[:, :, None])
    return lost.sum(dim=(1, 2))

"""RouterDC's network and its two contrastive losses (Chen et al., NeurIPS 2024, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cluster.training.network import Batch, in_fp32
from cluster.training.projection import VectorNetwork

# Standard deviation of the candidates' first embeddings, as the authors draw them.
FIRST_SPREAD = 0.78


class RouterDCNetwork(VectorNetwork):
    """Queries E(x) and candidates k_t in one space; the score is cos(E(x), k_t).

    Batch labels: `positive`, `negative` (n, n_candidates), how much a candidate counts as one of
    the best and of the worst; `reward` (n, n_candidates); `group` (n,), the query's cluster.
    """

    def __init__(
        self,
        *,
        n_candidates: int,
        dimensions: int,
        hidden: int,
        dropout: float,
        temperature: float,
        sample_weight: float,
        n_negatives: int,
    ) -> None:
        super().__init__(dimensions, hidden=hidden, dropout=dropout)
        self.candidates = nn.Parameter(torch.randn(n_candidates, hidden) * FIRST_SPREAD)
        self.temperature = temperature
        self.sample_weight = sample_weight
        self.n_negatives = n_negatives

    def scores(self, batch: Batch) -> Tensor:
        """(n, n_candidates): cosines."""
        return cosines(self.embed(batch), self.candidates)

    def forward(self, batch: Batch) -> Tensor:
        """L = L_sample–LLM + lambda · L_sample–sample (equation 5)."""
        queries = self.embed(batch)
        loss = sample_llm_loss(
            cosines(queries, self.candidates) / self.temperature,
            positive=batch.labels["positive"],
            negative=batch.labels["negative"],
            reward=batch.labels["reward"],
        )
        if self.sample_weight == 0:
            return loss
        between = cosines(queries, queries) / self.temperature
        return loss + self.sample_weight * sample_sample_loss(
            between,
            groups=batch.labels["group"],
            n_negatives=self.n_negatives,
            generator=batch.generator(),
        )


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """(n, m) of the rows of (n, d) and (m, d)."""
    with in_fp32(left):
        unit, other = (functional.normalize(rows.float(), dim=-1) for rows in (left, right))
        return unit @ other.T


def sample_llm_loss(
    logits: Tensor, *, positive: Tensor, negative: Tensor, reward: Tensor
) -> Tensor:
    """Equation 3: the mean over queries of the sum over their positives t+ of

        -log( e^{z_t+} / (e^{z_t+} + sum over negatives t- of e^{z_t-}) ).

    Membership is a weight between 0 and 1, so that ties share a place. A candidate is held only
    against those that did strictly worse: of equals none is to be preferred.

    Args:
        logits: (n, n_candidates), cosines over the temperature.
        positive, negative: (n, n_candidates), weights; 0 for missing cells.
        reward: (n, n_candidates); missing cells may hold anything.
    """
    worse = reward[:, None, :] < reward[:, :, None]
    weight = negative[:, None, :] * worse
    against = torch.logsumexp(
        torch.where(weight > 0, logits[:, None, :] + weight.clamp_min(1e-12).log(), -torch.inf), -1
    )
    counts = positive * (weight.sum(-1) > 0)
    lost = functional.softplus(torch.where(counts > 0, against - logits, 0.0))
    return (counts * lost).sum() / len(logits)


def sample_sample_loss(
    logits: Tensor, *, groups: Tensor, n_negatives: int, generator: torch.Generator
) -> Tensor:
    """Equation 4: one query x+ of the same group against H of other groups, all of the batch.

        -log( e^{z(x, x+)} / (e^{z(x, x+)} + sum over h of e^{z(x, x-_h)}) ), the mean over queries

    A query is never its own positive; one without a partner or without a stranger in the batch
    contributes nothing.

    Args:
        logits: (n, n), cosines over the temperature.
        groups: (n,), the queries' clusters.
        n_negatives: H.
        generator: of the draws.
    """
    n = len(logits)
    same = groups[:, None] == groups[None, :]
    partner = same & ~torch.eye(n, dtype=torch.bool, device=logits.device)
    lottery = torch.rand((n, n), generator=generator).to(logits.device)
    drawn = torch.where(partner, lottery, -1.0).argmax(dim=1)
    strangers = torch.where(~same, lottery, -1.0).topk(min(n_negatives, n), dim=1)
    against = torch.logsumexp(
        torch.where(strangers.values >= 0, logits.gather(1, strangers.indices), -torch.inf), dim=1
    )
    counts = partner.any(dim=1) & (~same).any(dim=1)
    lost = functional.softplus(
        torch.where(counts, against - logits.gather(1, drawn[:, None])[:, 0], 0.0)
    )
    return (counts * lost).sum() / n

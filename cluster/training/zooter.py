"""ZOOTER's network and loss (Lu et al., NAACL 2024, section 2.3)."""

from torch import Tensor, nn
from torch.nn import functional

from cluster.training.network import Batch, in_fp32
from cluster.training.projection import VectorNetwork

# Logit of a candidate that is left out; finite, so that 0 times its logarithm is 0.
NEVER = -1e9


class ZooterNetwork(VectorNetwork):
    """A classifier over candidates; the scores are its logits.

    Batch labels: `share` (n, n_candidates), the tag-enhanced reward distribution s* over the
    candidates whose reward is known, and `known` (n, n_candidates), 1 for these.
    """

    judged_by_loss = True

    def __init__(self, *, n_candidates: int, dimensions: int, hidden: int, dropout: float) -> None:
        super().__init__(dimensions, hidden=hidden, dropout=dropout)
        self.classifier = nn.Linear(hidden, n_candidates)

    def scores(self, batch: Batch) -> Tensor:
        """(n, n_candidates): logits of Z(q)."""
        queries = self.embed(batch)
        with in_fp32(queries):
            logits: Tensor = self.classifier(queries.float())
        return logits

    def forward(self, batch: Batch) -> Tensor:
        """KL(s* ‖ Z(q)), the mean over queries."""
        labels = batch.labels
        return divergence(self.scores(batch), share=labels["share"], known=labels["known"])


def divergence(logits: Tensor, *, share: Tensor, known: Tensor) -> Tensor:
    """Mean over queries of sum over candidates of s* · (log s* − log Z).

    The paper writes KLD(Z, s) and means this direction, whose gradient is that of soft-label cross-
    entropy. Z is the distribution over the known candidates: a missing reward is no reason to send
    less to a candidate. A query without any share contributes nothing.
    """
    logs = functional.log_softmax(logits.masked_fill(known == 0, NEVER), dim=-1)
    entropy = (share * share.clamp_min(1e-12).log()).sum()
    return (entropy - (share * logs).sum()) / len(logits)

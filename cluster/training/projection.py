"""From an encoder's vectors to a space of the method's own."""

from torch import Tensor, nn

from cluster.training.examples import VECTORS
from cluster.training.network import Batch, Network, in_fp32


class Projection(nn.Module):
    """A linear map and a small correction to it: `A v + B gelu(C v)`.

    The linear part alone learns what ridge regression would; on a few thousand rows a network
    without it starts worse and ends no better.
    """

    def __init__(self, dimensions: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(dimensions, hidden)
        self.correction = nn.Sequential(
            nn.Linear(dimensions, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, hidden) from (n, dimensions)."""
        with in_fp32(vectors):
            exact = vectors.float()
            projected: Tensor = self.linear(exact) + self.correction(exact)
        return projected


class VectorNetwork(Network):
    """A network on an encoder's vectors, behind a projection."""

    def __init__(self, dimensions: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.projection = Projection(dimensions, hidden=hidden, dropout=dropout)

    def embed(self, batch: Batch) -> Tensor:
        """(n, hidden): the queries."""
        projected: Tensor = self.projection(batch.inputs[VECTORS])
        return projected

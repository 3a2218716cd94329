"""Running a trained head on vectors, and telling whether stored weights fit it."""

from collections.abc import Mapping

import numpy as np
import torch

from cluster.encoders.encoder import Vectors
from cluster.errors import InputError
from cluster.outcome import FloatMatrix
from cluster.routers.router import Tensors
from cluster.training.examples import VECTORS
from cluster.training.network import Batch, Network
from cluster.training.plan import Plan


def run_head(
    plan: Plan, *, weights: Tensors, vectors: Vectors, part: str, rows: int
) -> FloatMatrix:
    """What the network's method `part` says of the vectors, `rows` of them at a time.

    Args:
        plan: of the network.
        weights: its weights by name.
        vectors: (n, d).
        part: "scores", (n, n_candidates), or "embed", (n, any).
        rows: at a time; the result does not depend on it beyond rounding.
    """
    network = load_network(plan, weights=weights)
    starts = range(0, max(len(vectors), 1), rows)
    with torch.inference_mode():
        found = [
            getattr(network, part)(
                Batch({VECTORS: torch.from_numpy(vectors[start : start + rows])}, {})
            )
            for start in starts
        ]
    merged: FloatMatrix = torch.cat(found).double().numpy()
    return merged


def load_network(plan: Plan, *, weights: Tensors) -> Network:
    """The network with the given weights, ready to be asked."""
    network: Network = plan.build()
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    return network.eval()


def check_head(plan: Plan, *, weights: Mapping[str, np.ndarray]) -> None:
    """Make sure that stored weights are those of the network.

    Raises:
        InputError: one is missing, not the network's, or of another shape.
    """
    wanted = {name: tuple(weight.shape) for name, weight in plan.build().state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if wanted != found:
        wrong = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise InputError(
            f"damaged checkpoint: the weights of '{plan.method}' do not fit its settings: "
            + ", ".join(f"{k} is {found.get(k)}, expected {wanted.get(k)}" for k in wrong[:3])
        )

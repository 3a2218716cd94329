"""What a worker must know to build a network: method, settings, sizes and seed; JSON values."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cluster.plugins import load_plugin
from cluster.query import digest
from cluster.training.examples import Examples, examples_digest

if TYPE_CHECKING:
    from cluster.routers.causal_lm import CausalLM
    from cluster.routers.network import NetworkMethod

# In front of the names of a tuned network's weights: those of the encoder's model, and the head's.
BODY, HEAD = "body.model.", "head."


@dataclass(frozen=True)
class Plan:
    """A network to build.

    Attributes:
        method: name of the installed method.
        settings: its settings as JSON values.
        n_candidates, dimensions: of its output, and of the encoder's vectors.
        seed: of its first weights and its batches.
        tuned: whether the encoder's own model is part of it.
        start: digest of the weights that training goes on from, where it does: what is resumed by
            the plan's name must not be mistaken for what began anew.
    """

    method: str
    settings: dict[str, Any]
    n_candidates: int
    dimensions: int
    seed: int = 0
    tuned: bool = False
    start: str = ""

    @classmethod
    def of(
        cls,
        method: "NetworkMethod | CausalLM",
        *,
        n_candidates: int,
        dimensions: int,
        seed: int = 0,
        tuned: bool = False,
    ) -> "Plan":
        """The plan of a method's network."""
        settings = method.model_dump(mode="json")
        return cls(method.name, settings, n_candidates, dimensions, seed, tuned)

    def spelled_out(self) -> "NetworkMethod | CausalLM":
        """The method with its settings."""
        kind: type[NetworkMethod | CausalLM] = load_plugin("routers", name=self.method)
        return kind(**self.settings)

    def build(self) -> Any:
        """The network with its first weights: equal plans give equal ones, bit for bit."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            method = self.spelled_out()
            network = method.network(n_candidates=self.n_candidates, dimensions=self.dimensions)
            return _on_body(network, method=method) if self.tuned else network


def run_name(plan: Plan, *, name: str, workers: int, train: Examples, validation: Examples) -> str:
    """Name of a training run: the work's, the method's, and the hash of the plan and its data.

    What is resumed is found by this name, so what is changed must not have it.
    """
    data = examples_digest(train, validation)
    facts = json.dumps([asdict(plan), name, workers, data], sort_keys=True)
    return "-".join([*filter(None, [name]), plan.method, digest([facts])[:12]])


def _on_body(head: Any, *, method: "NetworkMethod | CausalLM") -> Any:
    from cluster.routers.network import NetworkMethod
    from cluster.training.body import TunedNetwork, load_body

    assert isinstance(method, NetworkMethod), "only an encoder is tuned under a head"
    body = load_body(method.wanted_encoder(), checkpointing=method.gradient_checkpointing)
    return TunedNetwork(body, head)

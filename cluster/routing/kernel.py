"""What routes a file: the loaded router with its policy, as a spec names them."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cluster.errors import InputError
from cluster.policies.load import load_policy
from cluster.policies.policy import Policy
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.transfer import transfer
from cluster.routing.spec import RouteSpec


@dataclass(frozen=True)
class Routing:
    """A loaded router with what it is to be used for."""

    spec: RouteSpec
    router: Checkpoint
    policy: Policy

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names, the order of every column."""
        return self.router.router.candidates

    @property
    def is_priced(self) -> bool:
        """Whether the costs of all candidates are to be predicted, or none."""
        return all(name in self.spec.prices for name in self.candidates)

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        """(n_candidates,) who may be chosen; None for all."""
        if not self.spec.allowed:
            return None
        return np.array([name in self.spec.allowed for name in self.candidates])

    def settled(self, policy: Policy) -> "Routing":
        """The same with a policy that has seen the file."""
        return replace(self, policy=policy)


def load_routing(spec: RouteSpec) -> Routing:
    """The router and policy a spec names, as they were when it was made.

    Raises:
        InputError: the checkpoint is damaged or of another version, an allowed candidate is not
            the router's, the router reads answers, or the policy's settings are not what they
            must be.
    """
    checkpoint = load_checkpoint(spec.checkpoint, version=spec.router)
    if spec.strong:
        checkpoint = lent(checkpoint, strong=spec.strong, weak=spec.weak)
    candidates = checkpoint.router.candidates
    unknown = [name for name in spec.allowed if name not in candidates]
    if unknown:
        raise InputError(
            f"--allowed {', '.join(unknown)}: not candidates of router {spec.router[:12]}; "
            f"its candidates: {', '.join(candidates)}"
        )
    read = checkpoint.router.reads_answer_of
    if read:
        raise InputError(
            f"router {spec.router[:12]} decides when '{read}' has answered, and a file to route "
            "holds queries alone: name another --router, such as one of method gain"
        )
    policy = load_policy(spec.policy, settings=spec.policy_settings)
    return Routing(spec, checkpoint, policy.among(candidates))


def lent(checkpoint: Checkpoint, *, strong: str, weak: str) -> Checkpoint:
    """The checkpoint with its router between another pair.

    A prompt of the pair's is expected to have as many tokens as one of the candidates in whose
    place they stand: nothing else is known of their tokenizers.

    Raises:
        InputError: the router has no pair that could speak for them.
    """
    router = transfer(checkpoint.router, strong=strong, weak=weak)
    key = "prompt_tokens_per_character"
    ratios = dict(checkpoint.meta.data.get(key, {}))
    for name, column in zip((strong, weak), router.columns, strict=True):
        ratios.setdefault(name, ratios.get(checkpoint.router.candidates[column]))
    data = {**checkpoint.meta.data, key: ratios}
    meta = checkpoint.meta.model_copy(update={"data": data})
    return replace(checkpoint, router=router, meta=meta)

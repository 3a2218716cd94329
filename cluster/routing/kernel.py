"""What routes a file: the loaded router with its policy, as a spec names them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.drift.kept import profile_of
from cluster.drift.profile import Profile
from cluster.errors import InputError
from cluster.plugins import load_plugin
from cluster.policies.load import load_policy
from cluster.policies.policy import Policy
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.gradient import GradientMethod
from cluster.routers.transfer import transfer
from cluster.routing.spec import RouteSpec


@dataclass(frozen=True)
class Routing:
    """A loaded router with what it is to be used for.

    Attributes:
        profile: of the queries it was trained on; None where that is not known.
    """

    spec: RouteSpec
    router: Checkpoint
    policy: Policy
    profile: Profile | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names, the order of every column."""
        return self.router.router.candidates

    @property
    def is_priced(self) -> bool:
        """Whether the costs of all candidates are to be predicted, or none."""
        return all(name in self.spec.prices for name in self.candidates)

    @property
    def runs_model(self) -> bool:
        """Whether a pretrained model reads the queries: hundreds a second, not thousands."""
        manifest = self.router.meta
        method = load_plugin("routers", name=manifest.method)
        named = set(_encoders(manifest.config))
        slow = any(load_plugin("encoders", name=name).is_slow for name in named)
        return slow or (not named and issubclass(method, GradientMethod))

    def settled(self, policy: Policy) -> "Routing":
        """The same with a policy that has seen the file."""
        return replace(self, policy=policy)


def _encoders(config: Any) -> Iterator[str]:
    """Names of all encoders in a router's state, those of its parts too."""
    if isinstance(config, Mapping):
        if isinstance(config.get("encoder_name"), str):
            yield config["encoder_name"]
        for value in config.values():
            yield from _encoders(value)
    elif isinstance(config, list):
        for value in config:
            yield from _encoders(value)


def load_routing(spec: RouteSpec) -> Routing:
    """The router and policy a spec names, as they were when it was made.

    Raises:
        InputError: the checkpoint is damaged or of another version, constraints name a candidate
            that is not the router's, the router reads answers, or the policy's settings are not
            what they must be.
    """
    checkpoint = load_checkpoint(spec.checkpoint, version=spec.router)
    profile = profile_of(checkpoint)
    if spec.strong:
        checkpoint = lent(checkpoint, strong=spec.strong, weak=spec.weak)
    candidates = checkpoint.router.candidates
    spec.constraints.check(candidates)
    read = checkpoint.router.reads_answer_of
    if read and not spec.rounds:
        raise InputError(
            f"router {spec.router[:12]} decides when '{read}' has answered, and a file to route "
            "holds queries alone: let it answer with --policy cascade --answer -1, or name another "
            "--router, such as one of method gain"
        )
    policy = load_policy(spec.policy, settings=spec.policy_settings)
    return Routing(spec, checkpoint, policy.among(candidates), profile)


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

"""What is to be served, as data: passed to Ray Serve, and shown by its dashboard."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cluster.policies.constraints import Constraints
from cluster.price import Price
from cluster.serving.backend import Backend


class ServeSpec(BaseModel):
    """A router, its policy, and where its candidates answer. It holds names of keys, never keys.

    Attributes:
        lake: where the registry is.
        router: a version, which is then served for good, or `champion`, which is followed.
        policy: name of the policy of the model `router`.
        policy_settings: its settings.
        prices: by candidate's name; empty for those the candidates came with.
        backends: by candidate's name; these go before the endpoints that the lake's candidates
            have.
        constraints: who may answer what; of the file's columns a request has none.
        key_variable: environment variable of the replicas that holds the key clients must send;
            none for an endpoint without keys.
        max_request_bytes: longer requests are refused.
        max_batch: at most so many requests are predicted at once.
        reload_seconds: how often the registry is looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    lake: str
    router: str
    policy: str
    policy_settings: dict[str, Any] = {}
    prices: dict[str, Price] = {}
    backends: dict[str, Backend] = {}
    constraints: Constraints = Constraints()
    key_variable: str | None = None
    max_request_bytes: int = Field(default=8 * 2**20, ge=1)
    max_batch: int = Field(default=64, ge=1)
    reload_seconds: float = Field(default=5.0, gt=0)

"""What `/v1/models` tells: the router, its policies with their settings, the candidates."""

from typing import Any

from cluster.policies import POLICIES, Policy
from cluster.serving.model_name import ROUTER, written
from cluster.serving.routing import Routing


def model_list(routing: Routing, *, policy: Policy) -> dict[str, Any]:
    """The list in OpenAI's form; `policy` is that of the bare name."""
    router = _model(ROUTER, means=written(policy), router=routing.version)
    policies = [
        _model(f"{ROUTER}:policy={name}", settings=_settings(kind))
        for name, kind in sorted(POLICIES.items())
    ]
    candidates = [
        _model(name, routed=name in _usable(routing)) for name in sorted(routing.backends)
    ]
    return {"object": "list", "data": [router, *policies, *candidates]}


def _model(name: str, **facts: Any) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "signalbox", **facts}


def _settings(kind: type[Policy]) -> dict[str, Any]:
    """A policy's settings as JSON schema."""
    schema = kind.model_json_schema()
    return {name: schema[name] for name in ("properties", "required") if name in schema}


def _usable(routing: Routing) -> set[str]:
    return {
        name for name, usable in zip(routing.candidates, routing.callable, strict=True) if usable
    }

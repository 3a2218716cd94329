"""The names a request's `model` may have: `router`, `router:policy=…`, or a candidate's own."""

from collections.abc import Mapping
from typing import Any

from cluster.errors import InputError
from cluster.policies import Policy, load_policy
from cluster.serving.refusal import Refusal

ROUTER = "router"
_PREFIX = f"{ROUTER}:"
_FORM = "expected router:policy=NAME,SETTING=VALUE,…"


def asks_router(model: str) -> bool:
    """Whether the router is to choose, and not the client."""
    return model == ROUTER or model.startswith(_PREFIX)


def policy_of(model: str, *, default: Policy) -> Policy:
    """The policy a router's name asks for; `default` for the bare name.

    Raises:
        Refusal: the name has not the form, or the policy or a setting is not known, or out of
            range, or the policy does not decide row by row.
    """
    if model == ROUTER:
        return default
    settings = _settings(model.removeprefix(_PREFIX))
    name = settings.pop("policy", "")
    if not name:
        raise Refusal(f"model '{model}' names no policy; {_FORM}", param="model")
    try:
        return row_by_row(name, settings=settings)
    except InputError as error:
        raise Refusal(f"model '{model}': {error}", param="model") from None


def row_by_row(name: str, *, settings: Mapping[str, Any]) -> Policy:
    """A policy that decides about one request without the others.

    Raises:
        InputError: as `load_policy`, or the policy has to see all rows of a file first.
    """
    policy = load_policy(name, settings=settings)
    if policy.needs_file:
        raise InputError(
            f"policy '{name}' with these settings looks at a whole file before it chooses, and a "
            "request is one row: use 'signalbox route' for files, or another policy here"
        )
    return policy


def _settings(words: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping.

    Raises:
        Refusal: a part is no `name=value`, or a name stands twice.
    """
    settings: dict[str, str] = {}
    for word in words.split(","):
        name, mark, value = (part.strip() for part in word.partition("="))
        if not (name and mark and value):
            raise Refusal(
                f"model '{_PREFIX}{words}': '{word}' is no setting; {_FORM}", param="model"
            )
        if name in settings:
            raise Refusal(f"model '{_PREFIX}{words}': '{name}' stands twice", param="model")
        settings[name] = value
    return settings


def written(policy: Policy) -> str:
    """The name that asks for a policy."""
    settings = policy.model_dump(mode="json", exclude_none=True)
    words = [f"policy={policy.name}", *(f"{name}={value}" for name, value in settings.items())]
    return _PREFIX + ",".join(words)

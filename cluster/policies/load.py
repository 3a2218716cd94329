"""The policies by name. A new one is a subclass of `Policy` and an entry in `POLICIES`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cluster.errors import InputError
from cluster.policies.best import Best
from cluster.policies.budget import Budget
from cluster.policies.cascade import Cascade
from cluster.policies.policy import Policy
from cluster.policies.quality_floor import QualityFloor
from cluster.policies.threshold import Threshold
from cluster.policies.utility import Utility

POLICIES: Mapping[str, type[Policy]] = {
    policy.name: policy for policy in (Best, Utility, Budget, QualityFloor, Threshold, Cascade)
}


def load_policy(name: str, *, settings: Mapping[str, Any] | None = None) -> Policy:
    """Make the policy `name` with its settings.

    Raises:
        InputError: the name is unknown, or a setting is unknown, missing or out of range.
    """
    if name not in POLICIES:
        raise InputError(f"policy '{name}' is not known; known: {', '.join(sorted(POLICIES))}")
    try:
        return POLICIES[name](**(settings or {}))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        known = ", ".join(POLICIES[name].model_fields) or "none"
        raise InputError(f"policy '{name}': {faults}; its settings: {known}") from error

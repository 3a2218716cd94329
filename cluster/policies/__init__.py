"""Policies: what to do with a prediction."""

from cluster.policies.load import POLICIES, load_policy
from cluster.policies.policy import Policy

__all__ = ["POLICIES", "Policy", "load_policy"]

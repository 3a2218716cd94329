"""What came before a run's policy, in words: who may answer, and exploration."""

from collections.abc import Mapping
from typing import Any

from cluster.policies.constraints import Constraints
from cluster.routing.policy_words import policy_words


def run_words(manifest: Mapping[str, Any]) -> list[str]:
    """Sentences on a run's policy, and on what it was kept from."""
    facts = manifest.get("policy_facts", {})
    return [*policy_words(manifest["policy"], facts=facts), *constraint_words(manifest)]


def constraint_words(manifest: Mapping[str, Any]) -> list[str]:
    """A sentence for each constraint; nothing where there is none.

    Args:
        manifest: of a route job.
    """
    constraints = Constraints.model_validate(manifest.get("constraints") or {})
    told = [
        *_allowed(constraints),
        *_context(constraints),
        *_rules(constraints, rows=manifest.get("rule_rows") or []),
    ]
    if told:
        told.insert(0, "That is among the candidates that may answer a query.")
    return [
        *told,
        *_fallback(constraints, manifest=manifest),
        *_explore(constraints, manifest=manifest),
    ]


def _allowed(constraints: Constraints) -> list[str]:
    names = constraints.allowed
    return [f"Allowed: {', '.join(names)}."] if names else []


def _context(constraints: Constraints) -> list[str]:
    if not constraints.context:
        return []
    limits = ", ".join(f"{name} {tokens:,}" for name, tokens in constraints.context.items())
    return [f"Prompt and answer must fit the candidate's context, in tokens: {limits}."]


def _rules(constraints: Constraints, *, rows: list[int]) -> list[str]:
    return [
        f"The rule {rule.words} is about {about:,} of the queries."
        for rule, about in zip(constraints.rules, rows, strict=False)
    ]


def _fallback(constraints: Constraints, *, manifest: Mapping[str, Any]) -> list[str]:
    if not constraints.fallback:
        return []
    rows = manifest.get("fallbacks", 0)
    return [f"{rows:,} queries for which nobody was left go to {constraints.fallback}."]


def _explore(constraints: Constraints, *, manifest: Mapping[str, Any]) -> list[str]:
    if not constraints.explore:
        return []
    return [
        f"Exploration: {manifest.get('explored', 0):,} of the {manifest['rows']:,} queries "
        f"({100 * constraints.explore:.4g} % were asked for) go to one of those that may answer "
        "by lot, whatever the policy would choose."
    ]

"""The fields of `route` that say who may answer a query, and how one of them is chosen."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from cluster.errors import InputError
from cluster.lake.context_limits import read_context_limits
from cluster.lake.lake import Lake
from cluster.policies import load_policy
from cluster.policies.constraints import Constraints
from cluster.policies.rules import Rule, read_rules
from flows.floor_fields import FloorFields
from flows.params import AllowedField, MaxContextField
from tasks.report import say

PolicyName = Literal["best", "utility", "budget", "quality_floor", "threshold", "cascade"]
# Those of a calibration, which no policy has among its settings.
CALIBRATION = ("bound", "calibrated_on", "scorer", "normalisation", "reward_max")
# By policy, the fields it reads beside those of all.
READ: Mapping[str, tuple[str, ...]] = {
    "best": (),
    "utility": ("lambda_usd",),
    "budget": ("usd_per_1000", "usd_total"),
    "quality_floor": ("floor", "delta", "reference", *CALIBRATION),
    "threshold": ("strong_share", "threshold"),
    "cascade": ("accept_from", "strong_share", "threshold"),
}


def _without_default(schema: dict[str, Any]) -> None:
    """A form would send the default null back, and that is no number."""
    schema.pop("default", None)


# A form shows a plain number, empty at first, and leaves it out while it is.
Number = Annotated[
    float | None,
    WithJsonSchema({"type": "number"}),
    Field(json_schema_extra=_without_default),
]


class PolicyFields(FloorFields):
    """How one of the candidates is chosen, and which of them may be."""

    policy: PolicyName = Field(
        default="best",
        title="Policy",
        description="best: the highest expected reward; utility: reward minus lambda times cost; "
        "budget: the most reward that USD for the whole file allow; quality_floor: the least cost "
        "at a share of the reference's quality, with a confidence; threshold: a strong candidate "
        "where it promises enough more than a weak one; cascade: the cheapest that will do",
    )
    lambda_usd: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        title="Lambda",
        description="For policy utility: reward a query must gain for one more USD spent on it",
    )
    usd_per_1000: Number = Field(
        default=None,
        ge=0.0,
        allow_inf_nan=False,
        title="USD per 1,000 queries",
        description="For policy budget: what 1,000 queries of the file may cost on average",
    )
    usd_total: Number = Field(
        default=None,
        ge=0.0,
        allow_inf_nan=False,
        title="USD in total",
        description="For policy budget: what the whole file may cost",
    )
    calibrated_on: str = Field(
        default="",
        title="Calibration dataset",
        description="For policy quality_floor: the dataset whose calibration rows are read. Empty: "
        "the router's own",
    )
    strong_share: Number = Field(
        default=None,
        ge=0.0,
        le=1.0,
        title="Share of strong calls",
        description="For policies threshold and cascade: share of the file's queries that go to "
        "the strong candidate",
    )
    threshold: Number = Field(
        default=None,
        allow_inf_nan=False,
        title="Threshold",
        description="For policies threshold and cascade: how much more reward the strong "
        "candidate must promise than the weak one",
    )
    accept_from: Number = Field(
        default=None,
        allow_inf_nan=False,
        title="Accept from",
        description="For policy cascade: the cheapest candidate whose expected reward is at least "
        "this is chosen; the best one where there is none",
    )
    allowed: AllowedField = Field(default=[])
    max_context: MaxContextField = ""
    rules: str = Field(
        default="",
        title="Rules",
        description="YAML file with a list of rules by tag or language: '- {tag: medical, only: "
        "[a, b]}', '- {not_language: en, never: [c]}', '- {tag: code, prefer: [d]}'",
    )
    tag_column: str = Field(
        default="task",
        title="Tag column",
        description="Column that holds a query's tag, or a list of tags, for --rules",
    )
    language: str = Field(
        default="",
        title="Language column",
        description="Column that holds a query's language (ISO 639, such as de), for --rules. "
        "Empty: it is detected from the text where a rule asks for it",
    )
    fallback: str = Field(
        default="",
        title="Fallback",
        description="Candidate that takes the queries for which context and rules leave nobody. "
        "Empty: they are set aside in the quarantine file, with the reason",
    )
    explore: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        title="Exploration",
        description="Share of the queries that go to any of the candidates that may answer them, "
        "drawn evenly by the text; a column choice_probability says how likely each choice was "
        "(0.02 is 2 %)",
    )


def check_policy(params: PolicyFields) -> None:
    """Make sure that what is set is read by the policy, and that the policy has what it needs.

    Raises:
        InputError: a setting that another policy reads, one that is missing, or broken rules.
    """
    read = READ[params.policy]
    unread = [name for name in _policy_fields() if _is_set(params, name) and name not in read]
    if unread:
        readers = ", ".join(policy for policy, names in READ.items() if unread[0] in names)
        raise InputError(
            f"{flag(unread[0])} is read by {readers}, and --policy is {params.policy}: name one of "
            f"these with --policy, or leave {flag(unread[0])} out"
        )
    if params.policy in ("budget", "threshold", "cascade"):
        given = [name for name in read if _is_set(params, name)]
        if len(given) != 1:
            raise InputError(
                f"--policy {params.policy} needs one of {', '.join(map(flag, read))}; "
                f"{len(given)} given"
            )
    if params.policy == "quality_floor" and params.explore:
        raise InputError(
            "--explore sends queries to candidates that the policy did not choose, and the promise "
            "of --policy quality_floor is about its own choices: leave one of the two out"
        )
    load_policy(params.policy, settings=policy_settings(params))
    if params.rules:
        read_rules(params.rules)
    _check_rule_fields(params)


def _check_rule_fields(params: PolicyFields) -> None:
    for name in ("tag_column", "language"):
        if _is_set(params, name) and not params.rules:
            raise InputError(f"{flag(name)} is for the rules: name their file with --rules")


def policy_settings(params: PolicyFields) -> dict[str, Any]:
    """The settings of the policy, by name."""
    names = [name for name in READ[params.policy] if name not in CALIBRATION]
    given = {name: getattr(params, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def constraints_of(params: PolicyFields, *, candidates: tuple[str, ...], lake: Lake) -> Constraints:
    """Who may answer, for the job's spec.

    Raises:
        InputError: a name is not a candidate of the router, or a file is broken.
    """
    rules = read_rules(params.rules) if params.rules else ()
    limits = read_context_limits(params.max_context, lake=lake)
    constraints = Constraints(
        allowed=tuple(params.allowed),
        # Only the router's own, so that the work stays the same when the lake gets others.
        context={name: limits[name] for name in candidates if name in limits},
        rules=rules,
        tag_column=params.tag_column if rules else "",
        language_column=params.language,
        fallback=params.fallback,
        explore=params.explore,
    )
    constraints.check(candidates, rules_file=params.rules)
    return constraints


def tell_idle_rules(manifest: Mapping[str, Any]) -> None:
    """Say which rules were about no query: a tag may be misspelt."""
    rules = manifest["constraints"].get("rules", [])
    for number, (rule, rows) in enumerate(zip(rules, manifest["rule_rows"], strict=True), start=1):
        if not rows:
            say(f"rule {number}, {Rule.model_validate(rule).words}, is about no query of the file")


def _policy_fields() -> list[str]:
    return list(dict.fromkeys(name for names in READ.values() for name in names))


def _is_set(params: PolicyFields, name: str) -> bool:
    """Whether a field differs from its default: a form sends every field it shows."""
    return bool(getattr(params, name) != PolicyFields.model_fields[name].default)


def flag(name: str) -> str:
    """A field's flag."""
    return "--" + name.replace("_", "-")

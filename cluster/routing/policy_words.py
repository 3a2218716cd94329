"""What a policy did, in words: what it was asked for, and what it settled on for the file."""

from collections.abc import Mapping
from typing import Any

from cluster.policies.load import POLICIES


def policy_words(name: str, *, facts: Mapping[str, Any]) -> list[str]:
    """Sentences on a policy; those of its own docstring where nothing else is known of it.

    Args:
        name: of the policy.
        facts: `Policy.facts()`, its settings and what it settled on.
    """
    words = {
        "best": _best,
        "utility": _utility,
        "budget": _budget,
        "threshold": _threshold,
        "cascade": _cascade,
        "quality_floor": _quality_floor,
    }
    return words[name](facts) if name in words else [_first_line(name)]


def _best(facts: Mapping[str, Any]) -> list[str]:  # noqa: ARG001 - it has no settings
    return ["Every query goes to the candidate with the highest predicted reward, at any cost."]


def _utility(facts: Mapping[str, Any]) -> list[str]:
    return [
        "Every query goes to the candidate with the highest predicted reward minus lambda times "
        f"predicted cost; lambda is {number(facts['lambda_usd'])} reward per USD."
    ]


def _budget(facts: Mapping[str, Any]) -> list[str]:
    asked = (
        f"{number(facts['usd_total'])} USD for the file"
        if "usd_total" in facts
        else f"{number(facts.get('usd_per_1000'))} USD per 1,000 queries"
    )
    told = [f"As much predicted reward as {asked} can buy."]
    if "budget_usd" in facts:
        told.append(
            f"That is {number(facts['budget_usd'])} USD here, of which "
            f"{number(facts.get('expected_usd'))} USD are expected to be spent."
        )
    if facts.get("binds") is False:
        told.append("It is enough for the best candidate of every query.")
    elif facts.get("lambda_usd") is not None:
        told.append(
            "A dearer candidate is taken where it brings at least "
            f"{number(facts['lambda_usd'])} predicted reward for one more USD."
        )
    return told


def _threshold(facts: Mapping[str, Any]) -> list[str]:
    pair = f"{facts['strong']} instead of {facts['weak']}" if facts.get("strong") else "the strong"
    told = [f"A query goes to {pair} where it promises enough more reward."]
    if "strong_share" in facts:
        told.append(f"The file's {100 * facts['strong_share']:.4g} % that gain most are sent there")
        at = facts.get("at")
        told[-1] += (
            "."
            if at is None
            else (
                f": those that gain more than {number(at)}, and of those that gain just that as "
                "many as the share has room for, by lot."
            )
        )
    else:
        told.append(f"Enough is {number(facts.get('threshold'))}.")
    if facts.get("forced"):
        told.append(f"For {facts['forced']:,} queries nobody but the strong one may be asked.")
    return told


def _cascade(facts: Mapping[str, Any]) -> list[str]:
    if facts.get("accept_from") is not None:
        return [
            "The cheapest candidate is taken whose predicted reward is at least "
            f"{number(facts['accept_from'])}, and the best one where nobody's is."
        ]
    return ["The weak candidate comes first.", *_threshold(facts)]


def _quality_floor(facts: Mapping[str, Any]) -> list[str]:
    # What is promised is the calibration's to say.
    told = [facts.get("promise") or _first_line("quality_floor")]
    if facts.get("tau") is not None:
        told.append(
            "The cheapest candidate is taken whose predicted reward is at most "
            f"{number(facts['tau'])} below that of {facts['reference']}."
        )
    if facts.get("calibration"):
        told.append(f"Calibration {facts['calibration']}.")
    return told


def _first_line(name: str) -> str:
    kind = POLICIES.get(name)
    return ((kind.__doc__ or "") if kind else "").strip().split("\n")[0]


def number(value: Any) -> str:
    """A number as people read it; a dash for none."""
    if value is None:
        return "–"
    # Four digits, but none of a whole number's thousands.
    whole = abs(float(value)) >= 10_000
    return f"{float(value):,.{'0f' if whole else '4g'}}".replace("-", "−")

"""What the report on a routed file says, shown in the UI and on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from cluster.jobs.run import Manifest
from cluster.routing.constraint_words import run_words
from cluster.routing.report import alarms, headline
from tasks.artifacts import link_artifact, markdown_artifact, plain, table_artifact
from tasks.report import say, show_pairs


def show_routed(routed: Manifest) -> None:
    """Artifacts: shares beside what one candidate alone would come to, kinds of query, drift."""
    rows, costs = routed["rows"], routed["predicted_cost_usd_if_always"]
    shares = [
        {
            "candidate": name,
            "share": share,
            "predicted_reward_if_always": routed["predicted_reward_if_always"][name],
            "predicted_cost_usd_if_always": costs[name],
        }
        for name, share in routed["shares"].items()
    ]
    table_artifact(shares, key="routed", description=f"Shares of {rows} routed rows")
    kinds = [tag | tag["shares"] for tag in routed["tags"]]
    kinds = [{name: value for name, value in kind.items() if name != "shares"} for kind in kinds]
    table_artifact(kinds, key="routed-kinds", description=f"Who answers, by {routed['tags_by']}")
    table_artifact(_drift(routed), key="drift", description="Drift against the training queries")
    reasons = routed["left_out"]["reasons"]
    table_artifact(reasons, key="left-out", description="Why rows were left out")
    markdown_artifact(_words(routed), key="routed-words", description="What the run came to")
    link_artifact(routed["report"], key="routed-report", description="The page of the run")


def _drift(routed: Manifest) -> list[dict[str, Any]]:
    """A row a cluster of training queries."""
    drift = routed["drift"]
    if drift is None:
        return []
    columns = (drift["names"], drift["trained"], drift["shares"], drift["parts"])
    return [
        {"cluster": name, "share_of_training": trained, "share_here": here, "adds_to_index": part}
        for name, trained, here, part in zip(*columns, strict=True)
    ]


def _words(routed: Manifest) -> str:
    """As Markdown, with nothing in it that a name could turn into markup."""
    told = run_words(routed)
    lines = [f"{name}: {value}" for name, value in headline(routed)]
    items = [f"- {plain(line)}" for line in [*alarms(routed), *lines]]
    return "\n".join([plain(" ".join(told)), "", *items])


def tell_routed(routed: Manifest) -> None:
    """The first numbers, the alarms and where to look, on stderr."""
    show_pairs(_pairs(headline(routed)), title=f"policy {routed['policy']}")
    for alarm in alarms(routed):
        say(alarm)
    if routed.get("policy_facts", {}).get("promise"):
        say(routed["policy_facts"]["promise"])
    say(f"report: {routed['report']}")


def _pairs(told: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"measure": escape(name), "value": value} for name, value in told]

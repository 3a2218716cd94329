"""What a night came to, shown in the UI."""

from typing import Any

from prefect import get_run_logger

from cluster.jobs.run import Manifest
from cluster.nightly.words import headline, subject, words
from tasks.artifacts import link_artifact, markdown_artifact, plain, table_artifact
from tasks.gate import shown_comparisons


def show_night(manifest: Manifest) -> None:
    """Artifacts: what was new, answered, admitted, trained, decided, and the page.

    The run's log ends with the reason.
    """
    table_artifact(_files(manifest), key="night-files", description="Files of the watched folder")
    table_artifact(manifest["answers"], key="night-answers", description="Answers by candidate")
    table_artifact(manifest["rewards"], key="night-rewards", description="Rewards by scorer")
    admitted = [
        {name: row[name] for name in ("batch", "labels", "verdict", "why")}
        for row in manifest["admissions"]
    ]
    table_artifact(admitted, key="night-admission", description="Batches of new labels")
    table_artifact(manifest["training"], key="night-training", description="Trainings")
    table_artifact(manifest["table"], key="night-evaluation", description="Methods on the test")
    decision = manifest["decision"] or {}
    compared = shown_comparisons(decision.get("comparisons", []))
    table_artifact(compared, key="night-decision", description="What the version was held against")
    get_run_logger().info(f"{subject(manifest)}: {manifest['why']}")
    markdown_artifact(_text(manifest), key="night", description=subject(manifest))
    link_artifact(manifest["report"], key="night-report", description="The night's page")


def _files(manifest: Manifest) -> list[dict[str, Any]]:
    taken = [file | {"left": ""} for file in manifest["files"]]
    return taken + [{"uri": file["uri"], "left": file["why"]} for file in manifest["left"]]


def _text(manifest: Manifest) -> str:
    """As Markdown, with nothing in it that a name could turn into markup."""
    lines = [f"{name}: {value}" for name, value in headline(manifest)]
    items = [f"- {plain(line)}" for line in [*lines, *words(manifest)[1:]]]
    first = f"**{plain(words(manifest)[0])}**"
    return "\n".join([first, "", *items, "", f"Report: `{manifest['report']}`"])

"""What came of trainings, what methods are worth, and what the gate said, shown in the UI."""

from typing import Any

from cluster.evaluation.baselines import CANDIDATE
from cluster.evaluation.table import HEADINGS, TableRow
from cluster.jobs.run import Manifest
from cluster.storage import Storage
from tasks.artifacts import link_artifact, markdown_artifact, plain, png_artifact, table_artifact
from tasks.gate import shown_comparisons


def show_methods(found: Manifest, *, where: str) -> None:
    """Tables of the trainings and of the methods, as the terminal shows them, and the picture.

    Args:
        found: manifest of a job that fits and measures.
        where: which queries were measured.
    """
    trainings = [{_short(name): value for name, value in row.items()} for row in found["training"]]
    table_artifact(trainings, key="training", description="Trainings, by validation")
    rows = [dict(zip(HEADINGS, TableRow(**row).cells(), strict=True)) for row in found["table"]]
    rows = [row | {HEADINGS[0]: row[HEADINGS[0]].removeprefix(CANDIDATE)} for row in rows]
    table_artifact(rows, key="evaluation", description=f"Candidates and methods on {where}")
    alarms = "\n".join(f"- {plain(alarm)}" for alarm in found["alarms"])
    if alarms:
        markdown_artifact(alarms, key="alarms", description="What to know beside the figures")
    _show_picture(found)


def _short(name: str) -> str:
    """A figure's name; that all are of validation stands above the table."""
    return name.replace("_validation", "").replace("_", " ")


def show_page(found: Manifest) -> None:
    """The page of an evaluation."""
    (page,) = [uri for uri in found["outputs"] if uri.endswith("report.html")]
    link_artifact(page, key="report", description="The page of the evaluation")


def _show_picture(found: Manifest) -> None:
    if found["picture"]:
        content = Storage.at(found["picture"]).read_bytes(found["picture"])
        png_artifact(content, key="cost-quality", description="Cost against quality")


def show_decision(decision: dict[str, Any], *, key: str = "decision") -> None:
    """What the gate said of a version: the intervals as a table, the verdict in words.

    Args:
        decision: `version`, `promoted`, `why`, and where the gate compared, `comparisons` (rows
            with `against`, `gain`, `low`, `high`, `n`), `snapshot` and `level`.
        key: of the words; the table's has `-table` behind it.
    """
    verdict = "is champion now" if decision["promoted"] else "stays challenger"
    lines = [f"**Router {decision['version'][:12]} {verdict}**", "", plain(decision["why"])]
    if decision.get("snapshot"):
        error = f"error rate of each bound {decision['level']:.2g}"
        lines += ["", plain(f"Measured on the test snapshot {decision['snapshot']}, {error}")]
    markdown_artifact("\n".join(lines), key=key, description="What the gate decided, and why")
    rows = shown_comparisons(decision.get("comparisons") or [])
    table_artifact(rows, key=f"{key}-table", description="What the version was held against")

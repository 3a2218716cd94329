"""What the report on a collection says, shown in the UI."""

from cluster.jobs.run import Manifest
from tasks.artifacts import link_artifact, markdown_artifact, plain, table_artifact


def show_quality(kept: Manifest | None) -> None:
    """The numbers as a table and the alarms as a text; nothing where nothing is rewarded."""
    if kept is None:
        return
    title = f"Quality of {kept['dataset']}, scorer {kept['scorer']}"
    table_artifact(kept["headline"], key="quality", description=title)
    alarms = [f"- {plain(alarm)}" for alarm in kept["alarms"]] or ["No alarms."]
    markdown_artifact("\n".join(alarms), key="quality-alarms", description=title)
    link_artifact(kept["outputs"][0], key="quality-report", description="The page of the data")

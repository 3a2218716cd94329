"""The report on a collection, kept in the lake and shown in the UI."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from tasks.artifacts import markdown_artifact, table_artifact


@task(name="quality report", cache_policy=NO_CACHE, persist_result=False)
def quality_report(lake: str, *, dataset: str, scorers: Sequence[str]) -> Manifest | None:
    """Report on a dataset's quality, over the report there was; None where nothing is rewarded.

    The numbers become a table and the alarms a text in the UI.
    """
    from cluster.quality.keep import report_on_collection

    kept = report_on_collection(Lake.open(lake), dataset=dataset, scorers=tuple(scorers))
    if kept is not None:
        title = f"Quality of {dataset}, scorer {kept['scorer']}"
        table_artifact(kept["headline"], key="quality", description=title)
        alarms = [f"- {alarm}" for alarm in kept["alarms"]] or ["No alarms."]
        page = f"Report: `{kept['outputs'][0]}`"
        markdown_artifact("\n".join([*alarms, "", page]), key="quality-alarms", description=title)
    return kept

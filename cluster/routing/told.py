"""What the manifest says of a routed file beyond its sums, and the page made of it."""

from dataclasses import asdict
from typing import Any

from cluster.feedback.draw import together
from cluster.feedback.keep import keep_feedback
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.routing.kernel import Routing
from cluster.routing.left_out import left_out
from cluster.routing.observed import file_drift
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary
from cluster.routing.tally import added, as_rows

PAGE = "report.html"


def told(summaries: list[ShardSummary], *, routing: Routing, store: Store) -> dict[str, Any]:
    """Drift, kinds of query and rows left out, as JSON values."""
    found = file_drift(summaries, routing=routing)
    by_task = added([summary.tasks for summary in summaries])
    by_cluster = added([summary.clusters for summary in summaries])
    by = f"the column '{routing.spec.task_column}'" if by_task else "cluster of training queries"
    return {
        "inputs": [file.uri for file in routing.spec.files],
        "drift": None if found is None else asdict(found) | {"alarms": list(found.alarms)},
        "tags_by": by,
        "tags": as_rows(by_task or by_cluster, candidates=routing.candidates),
        "left_out": left_out(summaries, store=store),
    }


def fed_back(
    summaries: list[ShardSummary], *, routing: Routing, store: Store
) -> dict[str, Any] | None:
    """Copy the queries that come back into the lake; how many, None where none were asked for."""
    spec = routing.spec
    if not spec.feedback:
        return None
    drawn = [store.read_feedback(summary.key) for summary in summaries if summary.feedback]
    kept = keep_feedback(
        together(drawn),
        dataset=spec.feedback_dataset,
        router=spec.router,
        lake=Lake.open(spec.lake),
    )
    return asdict(kept) | {"dataset": spec.feedback_dataset, "share": spec.feedback}


def keep_page(manifest: dict[str, Any], *, run: Run) -> str:
    """Write the page beside the manifest; returns where."""
    # What draws takes 0.7 s to import, and the first row need not wait for it.
    from cluster.routing.report import report

    run.storage.write(run.uri(PAGE), report(manifest))
    return run.uri(PAGE)

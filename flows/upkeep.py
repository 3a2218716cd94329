"""upkeep: tables compacted and vacuumed, old runs and checkpoints deleted."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from cluster.jobs.run import Manifest
from cluster.jobs.upkeep import UpkeepSpec
from cluster.lake.lake import Lake
from cluster.lake.upkeep import LEAST_DAYS, MOST_DAYS, tables_there
from cluster.ray_cluster import cluster_address
from flows.params import FlowParams, check_ray
from tasks.artifacts import markdown_artifact, plain, table_artifact
from tasks.jobs import ray_job
from tasks.report import say, show_lines

MIB = 2**20
# Of a table, what is worth a line.
TOLD = ("compacted", "contended", "vacuumed", "leftovers", "damaged")


class UpkeepParams(FlowParams):
    """Tidy the lake: merge small files, delete what nobody reads any more.

    Safe beside everything else that runs. What an unfinished run reads, what a killed run left to
    be adopted, and every router that is or was champion stay, whatever the days say.
    """

    dry_run: bool = Field(
        default=False,
        title="Dry run",
        description="Only say what would be merged and deleted; try this first",
    )
    keep_days: int = Field(
        default=30,
        ge=LEAST_DAYS,
        le=MOST_DAYS,
        title="Days files are kept",
        description="How long files stay that tables no longer consist of, and for how long an "
        "unfinished run that is silent is waited for: longer than any run takes",
    )
    run_days: int = Field(
        default=90,
        ge=LEAST_DAYS,
        title="Days runs are kept",
        description="How long the folders of runs stay, with their reports and quarantined rows",
    )
    router_days: int = Field(
        default=0,
        ge=0,
        title="Days challengers are kept",
        description="How long the checkpoints of routers stay that never were champion. 0: for "
        "ever",
    )


def check(params: UpkeepParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: there is no lake, or the Ray address does not answer.
    """
    Lake.open(params.lake, create=False)
    check_ray(params)


@flow(name="upkeep", persist_result=False)
def upkeep(params: UpkeepParams) -> Manifest:
    """Merge the small files of every table, then delete what is older than the days say.

    Nothing that can be read today reads otherwise afterwards; older versions of tables can be read
    for as long as files are kept.
    """
    lake = Lake.open(params.lake, create=False)
    with cluster_address(params.ray_address) as address:
        done = ray_job(_spec(params, lake=lake), address=address)
    _show(done)
    return {"flow": "upkeep", "lake": lake.storage.uri, **done}


def _spec(params: UpkeepParams, *, lake: Lake) -> UpkeepSpec:
    return UpkeepSpec(
        lake=lake.storage.uri,
        keep_days=params.keep_days,
        run_days=params.run_days,
        router_days=params.router_days,
        dry_run=params.dry_run,
        found=lake.versions(list(tables_there(lake))),
        day=datetime.now(UTC).date().isoformat(),
    )


def _rows(manifest: Manifest) -> list[dict[str, Any]]:
    """A line a table of which something is to be told."""
    return [
        {
            "table": row["table"],
            "files": row["files"],
            "merged": row["compacted"],
            "into": row["into"],
            "left to writers": row["contended"],
            "deleted": row["vacuumed"] + row["leftovers"],
            "damaged": len(row["damaged"]),
            "kept for": ", ".join(row["pinned_by"]),
        }
        for row in manifest["tables"]
        if any(row[name] for name in TOLD)
    ]


def _show(manifest: Manifest) -> None:
    """What was done, or would be, in the UI: there is something to read where nothing was done."""
    first, *more = _words(manifest)
    get_run_logger().info(first)
    table_artifact(_rows(manifest), key="upkeep", description="What became of the tables' files")
    text = "\n".join([f"**{plain(first)}**", "", *(f"- {plain(line)}" for line in more)])
    markdown_artifact(text, key="upkeep-words", description="What was deleted, and what stays")


def show_result(manifest: Manifest) -> None:
    """What was done, or would be, on stderr."""
    rows = _rows(manifest)
    if rows:
        show_lines(rows, title="tables")
    for line in _words(manifest):
        say(line)


def _words(manifest: Manifest) -> list[str]:
    """The sum first, then what the reader may have to do something about."""
    would = "would be " if manifest["dry_run"] else ""
    tables, runs, checkpoints = manifest["tables"], manifest["runs"], manifest["checkpoints"]
    merged, files = (sum(row[name] for row in tables) for name in ("compacted", "into"))
    gone = sum(row["vacuumed"] + row["leftovers"] for row in tables)
    return [
        f"{would}merged: {merged:,} files of tables into {files:,}; {would}deleted: {gone:,} files "
        f"of tables, {runs['deleted']:,} of {runs['there']:,} runs "
        f"({runs['bytes'] / MIB:,.1f} MiB), {len(checkpoints['challengers'])} challengers, "
        f"{len(checkpoints['unregistered'])} checkpoints nobody registered, "
        f"{len(manifest['unfinished_writes'])} half-written files",
        *(f"half-written: {uri}" for uri in manifest["unfinished_writes"]),
        *(
            f"damaged: {uri} cannot be read and stays; look at it, and delete it yourself"
            for row in tables
            for uri in row["damaged"]
        ),
        *(
            f"{row['table']}: old files stay for {', '.join(row['pinned_by'])}"
            for row in tables
            if row["pinned_by"]
        ),
    ]

"""The upkeep job: tables compacted and vacuumed, old runs and checkpoints deleted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from cluster import registry
from cluster.jobs.old_checkpoints import OldCheckpoints, delete_checkpoint, old_checkpoints
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.run_folders import Pins, RunFolder, delete_folder, outdated, pins, run_folders
from cluster.jobs.spec import JobSpec
from cluster.lake.clock import agreed_time
from cluster.lake.lake import Lake
from cluster.lake.lease import lease
from cluster.lake.leftovers import SECONDS_A_DAY
from cluster.lake.tables import REWARDS
from cluster.lake.upkeep import TableUpkeep, clear_unfinished, keep_table, tables_there
from cluster.nightly.remembered import remembered_rewards

LEASE = "upkeep"


class UpkeepSpec(JobSpec):
    """What to tidy, and how much of it stays.

    Attributes:
        keep_days: how long files stay that are no longer part of a table, and for how long an
            unfinished run that is silent is waited for.
        run_days: how long the folders of runs stay.
        router_days: how long challengers' checkpoints stay; 0 for ever.
        dry_run: only say what would be done.
        found: versions of the tables as they were found, and `day`, the day (UTC): tomorrow's
            upkeep is other work. Not `inputs`: it reads no pinned version.
        day: see `found`.
    """

    job: ClassVar[str] = "upkeep"

    keep_days: int
    run_days: int
    router_days: int
    dry_run: bool
    found: dict[str, int]
    day: str


@dataclass(frozen=True)
class _Upkeep:
    """What the steps share."""

    spec: UpkeepSpec
    lake: Lake
    folders: Sequence[RunFolder]
    pinned: Pins
    now: float


def upkeep(spec: UpkeepSpec, run: Run) -> Manifest:
    """Tidy; returns a row a table and counts of the rest.

    Raises:
        LakeError: a version that an unfinished run reads cannot be opened, or the store's clock
            and this machine's do not agree.
    """
    lake = Lake.open(spec.lake, create=False)

    def waiting(holder: str) -> None:
        run.progress(Part("tables", done=0, total=0, unit="tables", note=f"waiting for {holder}"))

    with lease(LEASE, lake=lake, waiting=waiting) as still_ours:
        now = agreed_time(lake)
        folders = [one for one in run_folders(lake) if one.work_id != run.work_id]
        pinned = pins(folders, lake=lake, since=now - spec.keep_days * SECONDS_A_DAY)
        work = _Upkeep(spec, lake, folders, pinned, now)
        rows = []
        versions = {**pinned.versions}
        versions[REWARDS.name] = remembered_rewards(lake) | versions.get(REWARDS.name, {})
        tables = list(tables_there(lake))
        for number, table in enumerate(tables):
            still_ours()
            run.progress(Part("tables", done=number, total=len(tables), unit="tables"), now=True)
            rows.append(
                keep_table(
                    lake,
                    table=table,
                    keep_days=spec.keep_days,
                    pinned=versions.get(table.name, {}),
                    now=now,
                    dry_run=spec.dry_run,
                )
            )
        run.progress(Part("tables", done=len(tables), total=len(tables), unit="tables"), now=True)
        return {"outputs": [], **_tables(rows), **_runs(work), **_checkpoints(work), **_rest(work)}


def _tables(rows: Sequence[TableUpkeep]) -> dict[str, Any]:
    return {"tables": [asdict(row) for row in rows]}


def _runs(work: _Upkeep) -> dict[str, Any]:
    before = work.now - work.spec.run_days * SECONDS_A_DAY
    old = outdated(work.folders, pinned=work.pinned, before=before)
    for folder in old if not work.spec.dry_run else ():
        delete_folder(folder, lake=work.lake)
    return {
        "runs": {
            "there": len(work.folders),
            "deleted": len(old),
            "bytes": sum(folder.size for folder in old),
        }
    }


def _checkpoints(work: _Upkeep) -> dict[str, Any]:
    old = old_checkpoints(
        work.lake,
        pinned=work.pinned,
        keep_days=work.spec.keep_days,
        router_days=work.spec.router_days,
        now=work.now,
    )
    if not work.spec.dry_run:
        _delete_checkpoints(old, work=work)
    return {
        "checkpoints": {
            "unregistered": list(old.unregistered),
            "challengers": list(old.challengers),
        }
    }


def _delete_checkpoints(old: OldCheckpoints, *, work: _Upkeep) -> None:
    """First the word that a version is gone, then its files: a name never leads to half a one."""
    days = work.spec.router_days
    for version in old.challengers:
        if registry.retire(
            work.lake, version=version, why=f"upkeep: a challenger for more than {days} days"
        ):
            delete_checkpoint(version, lake=work.lake)
    for version in old.unregistered:
        delete_checkpoint(version, lake=work.lake)


def _rest(work: _Upkeep) -> dict[str, Any]:
    dry_run = work.spec.dry_run
    return {
        "unfinished_writes": clear_unfinished(work.lake, now=work.now, dry_run=dry_run),
        "dry_run": dry_run,
    }


if __name__ == "__main__":
    main(UpkeepSpec, work=upkeep)

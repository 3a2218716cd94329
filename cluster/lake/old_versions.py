"""Old versions of a table: which can be read still, after a vacuum and a log that forgets."""

import logging
from collections.abc import Mapping

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cluster.errors import LakeError
from cluster.lake.lake import Lake, active_files
from cluster.lake.tables import Table

LOG = logging.getLogger("signalbox.upkeep")


def opened_at(lake: Lake, *, table: Table, version: int) -> DeltaTable | None:
    """A handle on an old version; None where the log has forgotten it, so that no run reads it.

    Raises:
        LakeError: the log has it, and it cannot be opened.
    """
    uri, options = lake.table_uri(table), lake.storage.delta_options()
    try:
        return DeltaTable(uri, version=version, storage_options=options)
    except DeltaError as error:
        if lake.storage.read_bytes_or_none(f"{uri}/_delta_log/{version:020d}.json") is None:
            LOG.info("%s: version %d is in the log no longer", table.name, version)
            return None
        raise LakeError(
            f"{uri}: version {version}, which an unfinished run or a later night reads, cannot be "
            f"opened ({error}), so nothing is deleted; try again, or finish that run or delete its "
            "folder"
        ) from error


def pinned_files(lake: Lake, *, table: Table, pinned: Mapping[int, str]) -> dict[str, set[str]]:
    """Path → who reads it, of all files that pinned versions of a table consist of.

    Args:
        lake: the lake.
        table: one that is there.
        pinned: version → who reads it.
    """
    found: dict[str, set[str]] = {}
    for version, reader in pinned.items():
        handle = opened_at(lake, table=table, version=version)
        if handle is not None:
            for path in active_files(handle)["path"]:
                found.setdefault(path, set()).add(reader)
    return found


def is_readable(lake: Lake, *, table: Table, version: int) -> bool:
    """Whether the log knows a version still, and all its files are there.

    Raises:
        LakeError: the log has it, and it cannot be opened.
    """
    handle = opened_at(lake, table=table, version=version)
    if handle is None:
        return False
    uri = lake.table_uri(table)
    there = {entry.uri.removeprefix(f"{uri}/") for entry in lake.storage.entries(uri)}
    return set(active_files(handle)["path"]) <= there

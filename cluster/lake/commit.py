"""The commit rule: how staged shards become rows, once, whoever tries and however often.

Every commit of a table (or of one partition of it) carries the Delta transaction id
`(scope, n + 1)`, where `n` was read from the same loaded handle as the keys that are there.
Delta refuses it when anyone else has moved the scope since; then the handle is loaded again, the
keys are looked at again, and only what is still missing is committed. So a key stands in its
table once, after a crash between a commit and its acknowledgement too.
"""

import random
import secrets
import time
from collections.abc import Callable, Sequence

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from cluster.errors import LakeError
from cluster.failpoint import failpoint
from cluster.lake.lake import Lake, active_files, removed_files, scan_handle
from cluster.lake.shard import Shard, add_action, check_shard, read_keys, write_shard
from cluster.lake.tables import COMPLETIONS, RAW_TAGS, REWARDS, Table
from cluster.storage import telling_full_disk

# 8 writers on one scope needed at most 8 turns each in the tests; 60 turns with pauses of up to
# 2 s give up after about a minute of pure bad luck.
MAX_TURNS = 60
# Files that are new go only where somebody's clock is days ahead; he will not come a third time.
MAX_LOSSES = 3
LONGEST_PAUSE_SECONDS = 2.0
# So few values of a column of a key (one candidate, one scorer) are looked for in the statistics
# of files before any row is read.
FEW_VALUES = 8


def commit_shards(shards: Sequence[Shard], *, lake: Lake, table: Table) -> list[Shard]:
    """Commit the shards none of whose keys is committed yet; return those.

    All shards are of one partition (or of a table without partitions).

    Raises:
        LakeError: a shard is not what its writer said, or the scope stays contended.
    """
    if not shards:
        return []
    for shard in shards:
        check_shard(shard, lake=lake, table=table)
    partition = shards[0].partition
    assert all(shard.partition == partition for shard in shards), "one partition a commit"
    keys = read_keys(shards, lake=lake, table=table)

    def still_missing(handle: DeltaTable) -> list[Shard]:
        committed = committed_keys(pl.concat(keys), handle=handle, table=table)
        return _without_overlap(shards, keys=keys, committed=committed)

    return commit_on_handle(still_missing, lake=lake, table=table, scope=_scope(table, partition))


def append_new(rows: pl.DataFrame, *, lake: Lake, table: Table) -> int:
    """Append the rows whose keys are not there yet; return how many were.

    Raises:
        LakeError: the table stays contended.
    """
    rows = rows.unique(list(table.key), keep="first", maintain_order=True)
    if table.partition is None:
        return _append_part(rows, lake=lake, table=table, partition=None)
    return sum(
        _append_part(part, lake=lake, table=table, partition=str(value))
        for (value,), part in rows.partition_by(table.partition, as_dict=True).items()
    )


def _append_part(rows: pl.DataFrame, *, lake: Lake, table: Table, partition: str | None) -> int:
    written: list[Shard] = []

    def still_missing(handle: DeltaTable) -> list[Shard]:
        while written:
            lake.storage.delete(f"{lake.table_uri(table)}/{written.pop().path}")
        committed = committed_keys(rows, handle=handle, table=table)
        fresh = rows.join(committed, on=list(table.key), how="anti", maintain_order="left")
        if fresh.height:
            name = f"rows-{secrets.token_hex(16)}.parquet"
            written.append(
                write_shard(fresh, lake=lake, table=table, partition=partition, name=name)
            )
        return list(written)

    done = commit_on_handle(still_missing, lake=lake, table=table, scope=_scope(table, partition))
    return sum(shard.rows for shard in done)


def delete_errors(keys: pl.DataFrame, *, lake: Lake, candidate_id: str) -> int:
    """Take the error rows of these keys out of `completions`, so that planning finds them missing.

    Args:
        keys: `query_id`, `sample`; errors of other queries stay.
        lake: the lake.
        candidate_id: whose errors.

    Raises:
        LakeError: other writers keep coming between.
    """
    match = (
        "t.query_id = s.query_id AND t.sample = s.sample AND t.outcome = 'error' "
        f"AND t.candidate_id = '{candidate_id}'"
    )
    return _delete(keys, match=match, lake=lake, table=COMPLETIONS)


def delete_missing_rewards(queries: pl.DataFrame, *, lake: Lake, scorer_id: str) -> int:
    """Take the rewards that are missing for a reason out of `rewards`, to be asked for again.

    Args:
        queries: `query_id`; those of other queries stay.
        lake: the lake.
        scorer_id: whose.

    Raises:
        LakeError: other writers keep coming between.
    """
    match = f"t.query_id = s.query_id AND t.value IS NULL AND t.scorer_id = '{scorer_id}'"
    ids = queries.select("query_id").unique()
    return _delete(ids, match=match, lake=lake, table=REWARDS)


def delete_missing_tags(query_ids: pl.DataFrame, *, lake: Lake, writer_id: str) -> int:
    """Take what `raw_tags` says of queries that got no tag out of it, to be asked about again.

    Args:
        query_ids: `query_id` of such queries.
        lake: the lake.
        writer_id: who wrote.

    Raises:
        LakeError: other writers keep coming between.
    """
    match = f"t.query_id = s.query_id AND t.raw_tag IS NULL AND t.writer_id = '{writer_id}'"
    return _delete(query_ids, match=match, lake=lake, table=RAW_TAGS)


def put_rewards(rows: pl.DataFrame, *, lake: Lake) -> None:
    """Write rewards in one commit, each in the place of the one with its key, if there is one.

    Raises:
        LakeError: other writers keep coming between.
    """
    match = " AND ".join(f"t.{name} = s.{name}" for name in REWARDS.key)
    for turn in range(MAX_TURNS):
        handle = lake.handle(REWARDS)
        merge = handle.merge(rows, predicate=match, source_alias="s", target_alias="t")
        failpoint("put.before")
        try:
            with telling_full_disk(lake.table_uri(REWARDS)):
                merge.when_matched_update_all().when_not_matched_insert_all().execute()
        except CommitFailedError:
            _pause(turn)
            continue
        failpoint("put.after")
        return
    raise LakeError(f"{lake.table_uri(REWARDS)}: {MAX_TURNS} commits were refused")


def _delete(source: pl.DataFrame, *, match: str, lake: Lake, table: Table) -> int:
    """Delete the rows `t` of a table that match a row `s`; how many there were."""
    for turn in range(MAX_TURNS):
        handle = lake.handle(table)
        merge = handle.merge(source, predicate=match, source_alias="s", target_alias="t")
        failpoint("delete.before")
        try:
            with telling_full_disk(lake.table_uri(table)):
                deleted = int(merge.when_matched_delete().execute()["num_target_rows_deleted"])
        except CommitFailedError:
            _pause(turn)
            continue
        failpoint("delete.after")
        return deleted
    raise LakeError(f"{lake.table_uri(table)}: {MAX_TURNS} deletions were refused")


def _pause(turn: int) -> None:
    """Wait longer each time, never in step with another writer."""
    time.sleep(min(LONGEST_PAUSE_SECONDS, 0.05 * 2**turn) * random.uniform(0.5, 1.0))


def _scope(table: Table, partition: str | None) -> str:
    return f"{table.name}/{partition or 'all'}"


def committed_keys(among: pl.DataFrame, *, handle: DeltaTable, table: Table) -> pl.DataFrame:
    """Those of the rows' keys that the table has.

    Read in a stream, and only where a file may hold one of them: all keys of 10 million rewards
    took 4 GiB and 3 s of a processor, this takes nothing beside the rows and a tenth of that.
    """
    key = list(table.key)
    wanted = among.lazy().select(key)
    found = scan_handle(handle, table=table).select(key)
    for name in key:
        values = among[name].unique()
        if len(values) <= FEW_VALUES:
            found = found.filter(pl.col(name).is_in(values.implode()))
    return found.join(wanted, on=key, how="semi").collect(engine="streaming")


def _without_overlap(
    shards: Sequence[Shard], *, keys: Sequence[pl.DataFrame], committed: pl.DataFrame
) -> list[Shard]:
    """The shards that share no key with what is committed or with one taken before them."""
    taken: list[Shard] = []
    for shard, own in zip(shards, keys, strict=True):
        if own.join(committed, on=own.columns, how="semi").height == 0:
            taken.append(shard)
            committed = pl.concat([committed, own])
    return taken


def commit_on_handle(
    still_missing: Callable[[DeltaTable], list[Shard]], *, lake: Lake, table: Table, scope: str
) -> list[Shard]:
    """Commit what `still_missing` finds wanting on a loaded handle; return it.

    When somebody else has moved the scope meanwhile, or a file has gone, the handle is loaded and
    asked again.

    Raises:
        LakeError: the scope stays contended, or files go again and again.
    """
    shards: list[Shard] = []
    losses = 0
    for turn in range(MAX_TURNS):
        handle = lake.handle(table)
        if shards and _is_committed(shards, handle=handle):
            return shards  # the store refused the second try of a write whose first went through
        number = handle.transaction_version(scope) or 0
        shards = still_missing(handle)
        if not shards:
            return []
        failpoint("commit.before")
        if gone := _gone(shards, lake=lake, table=table):
            losses += 1
            if losses == MAX_LOSSES:
                raise _is_deleted(gone)
            shards = []
            continue
        try:
            _write_transaction(handle, shards=shards, table=table, scope=scope, number=number + 1)
        except CommitFailedError:
            _pause(turn)
            continue
        failpoint("commit.after")
        return shards
    raise LakeError(f"{lake.table_uri(table)}: {MAX_TURNS} commits were refused; try again later")


def _gone(shards: Sequence[Shard], *, lake: Lake, table: Table) -> str:
    """A file that is there no longer, or an empty text.

    A commit that names one would break every read of the table.
    """
    files = lake.storage.filesystem()
    uris = (f"{lake.table_uri(table)}/{shard.path}" for shard in shards)
    return next((uri for uri in uris if not files.exists(uri)), "")


def _is_deleted(uri: str) -> LakeError:
    return LakeError(
        f"{uri}: was written and is gone before it is committed; is an 'upkeep' running on a "
        "machine whose clock is ahead? Stop it, set the clock right and run again"
    )


def _is_committed(shards: Sequence[Shard], *, handle: DeltaTable) -> bool:
    """Whether the table names the shards, or did until a compaction took them in."""
    paths = {shard.path for shard in shards} - set(active_files(handle)["path"])
    return not paths or paths <= removed_files(handle)


def _write_transaction(
    handle: DeltaTable, *, shards: Sequence[Shard], table: Table, scope: str, number: int
) -> None:
    rows = sum(shard.rows for shard in shards)
    with telling_full_disk(handle.table_uri):
        handle.create_write_transaction(
            [add_action(shard, table=table) for shard in shards],
            mode="append",
            schema=handle.schema(),
            partition_by=[table.partition] if table.partition else None,
            commit_properties=CommitProperties(
                custom_metadata={"scope": scope, "rows": str(rows)},
                app_transactions=[Transaction(scope, number)],
                max_commit_retries=15,
            ),
        )

"""The files of a frozen snapshot: written once, read back only as they were written."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import polars as pl

from cluster.errors import LakeError, NotComparableError
from cluster.failpoint import failpoint
from cluster.gate.files import keep, read_kept, snapshot_uri
from cluster.gate.snapshot import ENOUGH, Snapshot, cells
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import QUERIES
from cluster.outcome import MATRICES, OutcomeMatrix
from cluster.query import digest


def candidates_of(lake: Lake, *, snapshot: Snapshot) -> dict[str, tuple[str, str]]:
    """candidate_id → (name, digest of its outcomes), of those added later too."""
    added = {}
    for uri, _ in lake.storage.list(snapshot_uri(lake, snapshot.name, "added")):
        one = json.loads(lake.storage.read_bytes(uri))
        added[uri.rpartition("/")[2]] = (one["name"], one["outcomes"])
    return {**snapshot.outcomes, **added}


def snapshot_texts(lake: Lake, *, snapshot: Snapshot) -> pl.Series:
    """(n_queries,): the queries' texts."""
    return _read_queries(lake, snapshot=snapshot)["text"]


def read_snapshot(
    lake: Lake, *, snapshot: Snapshot, candidates: Mapping[str, str] | None = None
) -> OutcomeMatrix:
    """The frozen outcomes, rows in an order that does not depend on rewards.

    Args:
        lake: where it is.
        snapshot: which.
        candidates: candidate_id → name of those asked for, in this order; who is not in the
            snapshot yet is added. None: all that are in it, by name.

    Raises:
        NotComparableError: a candidate has too few outcomes on these queries.
        LakeError: a file of the snapshot, or the text of a query, is not what was frozen.
    """
    there = candidates_of(lake, snapshot=snapshot)
    if candidates is None:
        candidates = {key: name for key, (name, _) in sorted(there.items(), key=lambda x: x[1])}
    missing = {key: name for key, name in candidates.items() if key not in there}
    if missing:
        _add(missing, lake=lake, snapshot=snapshot)
        there = candidates_of(lake, snapshot=snapshot)
    queries = _read_queries(lake, snapshot=snapshot)
    place = queries.select("query_id")
    cells = [
        place.join(
            read_kept(there[key][1], lake=lake, name=snapshot.name), on="query_id", how="left"
        ).select(MATRICES)
        for key in candidates
    ]
    matrices = {
        name: np.column_stack([one[name].fill_null(np.nan).to_numpy() for one in cells])
        for name in MATRICES
    }
    counts = {name: np.nan_to_num(matrices[name]) for name in ("n_samples", "truncated")}
    return OutcomeMatrix(
        queries=queries,
        candidates=tuple(candidates.values()),
        candidate_ids=tuple(candidates),
        **(matrices | counts),
    )


def _add(candidates: Mapping[str, str], *, lake: Lake, snapshot: Snapshot) -> None:
    """Freeze what candidates that came later have earned on the snapshot's queries."""
    outcomes = read_outcomes(lake, **vars(snapshot.measure))
    ids = read_kept(snapshot.queries, lake=lake, name=snapshot.name)["query_id"]
    rows = outcomes.take(outcomes.queries["query_id"].is_in(ids.implode()).to_numpy())
    for key, name in candidates.items():
        column = rows.candidate_ids.index(key) if key in rows.candidate_ids else None
        known = 0 if column is None else int(rows.mask[:, column].sum())
        if column is None or known < ENOUGH * snapshot.rows:
            raise NotComparableError(
                f"candidate '{name}' has rewards on {known} of the {snapshot.rows} queries of "
                f"snapshot '{snapshot.name}', so no router that may choose it can be compared "
                f"there; {ENOUGH:.0%} are expected: collect what is missing, or freeze another "
                "snapshot with 'signalbox snapshot create'"
            )
        sha = keep(cells(rows, column=column), lake=lake, name=snapshot.name)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        note = json.dumps({"name": name, "outcomes": sha, "at": at}).encode()
        failpoint("snapshot.add")
        try:
            lake.storage.write_new(snapshot_uri(lake, snapshot.name, "added", key), note)
        except FileExistsError:
            continue  # another run was first, and its outcomes stand


def _read_queries(lake: Lake, *, snapshot: Snapshot) -> pl.DataFrame:
    """The columns of `OutcomeMatrix.queries`, in the snapshot's order."""
    own = read_kept(snapshot.queries, lake=lake, name=snapshot.name)
    texts = (
        lake.scan(QUERIES)
        .select("query_id", "dataset", "split", "text", "sampling_probability")
        .join(own.lazy().select("query_id"), on="query_id", how="semi")
        .collect()
    )
    queries = own.join(texts, on="query_id", how="left", maintain_order="left")
    for key, kept, text in queries.select("query_id", "text_id", "text").iter_rows():
        if text is None or digest(["text", text]) != kept:
            raise LakeError(
                f"{lake.table_uri(QUERIES)}: the text of query {key} is not the one that snapshot "
                f"'{snapshot.name}' was frozen with; freeze a new one with 'signalbox snapshot "
                "create'"
            )
    return queries.select(
        "query_id", "dataset", "task", "split", "text", "sampling_probability"
    ).with_columns(sampling_probability=pl.col("sampling_probability").fill_null(1.0))

"""Whether a snapshot's rows are new enough for an error rate of its own.

A snapshot has one error rate for all its looks, because whoever did well on its rows may owe it to
luck. To freeze the same rows again would spend that rate a second time on the same luck. So a
snapshot of a measure needs queries that no look has seen: half of its rows or more. What is left of
the old ones counts for less than the new ones do, and whatever luck was found there with them.
"""

import math
from collections.abc import Mapping

import polars as pl

from cluster.errors import InputError, LakeError
from cluster.gate.files import read_kept
from cluster.gate.spending import seen_snapshots
from cluster.lake.lake import Lake

# Of a snapshot's rows, that no look at an earlier one has seen.
FRESH = 0.5


def check_fresh(queries: pl.DataFrame, *, earlier: Mapping[str, str], lake: Lake) -> None:
    """Make sure enough rows are new to the looks at earlier snapshots of the same measure.

    A snapshot that nothing was compared on yet has spent nothing, and one whose queries are gone or
    were changed can be looked at no more; they are passed over.

    Args:
        queries: with `text_id`, one row a query.
        earlier: name of a snapshot → digest of its file of queries.
        lake: where they are.

    Raises:
        InputError: too few are, with how many more there must be.
    """
    used = seen_snapshots(lake) & set(earlier)
    known: set[str] = set()
    for name in used:
        known |= _texts(earlier[name], lake=lake, name=name)
    fresh = queries.filter(~pl.col("text_id").is_in(list(known))).height
    lacking = math.ceil((FRESH * queries.height - fresh) / (1 - FRESH))
    if lacking > 0:
        names = ", ".join(sorted(used))
        raise InputError(
            f"{queries.height - fresh} of the {queries.height} test queries were looked at already "
            f"({names}), and looks at the same rows share one error rate; {lacking} more new test "
            f"queries are needed (there are {fresh}, {FRESH:.0%} must be new): collect or import "
            "more, a tenth of the queries is test"
        )


def _texts(sha: str, *, lake: Lake, name: str) -> set[str]:
    try:
        return set(read_kept(sha, lake=lake, name=name)["text_id"])
    except LakeError:
        return set()

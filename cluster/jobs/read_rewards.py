"""What a scorer reads that is made from other scorers' rewards."""

import json
from collections.abc import Mapping

import polars as pl

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.outcomes import LEARNED
from cluster.lake.tables import REWARDS, SCORERS
from cluster.rewards.scorer import Scorer, read_column, reason_column

ANSWER = ["query_id", "candidate_id", "sample"]


def bind(
    scorer: Scorer, *, name: str, queries: pl.DataFrame, ran: Mapping[str, str], lake: Lake
) -> tuple[Scorer, pl.DataFrame]:
    """The scorer tied to the rewards it reads, and those, one row an answer.

    Args:
        scorer: one that reads others.
        name: its own.
        queries: of the dataset, with `split`.
        ran: scorer_id by name of those that have run before it.
        lake: where the rewards are.

    Raises:
        InputError: a scorer it reads has not rewarded the dataset.
    """
    ids = {part: ran[part] for part in scorer.reads if part in ran}
    if len(ids) < len(scorer.reads):
        there = _there(queries, lake=lake)
        others = [part for part in scorer.reads if part not in ids]
        ids |= {part: _id_of(part, there=there) for part in others}
    read = _read(ids, queries=queries, lake=lake)
    kept = lake.read(SCORERS).filter(pl.col("name") == name)["spec"]
    return scorer.bound(read, ids=ids, kept=[json.loads(spec) for spec in kept]), read


def _there(queries: pl.DataFrame, *, lake: Lake) -> pl.DataFrame:
    """`scorer_id`, `name` of those that have rewarded the dataset, most rewards first."""
    return (
        lake.scan(REWARDS)
        .join(queries.lazy().select("query_id"), on="query_id", how="semi")
        .group_by("scorer_id")
        .agg(pl.col("value").count().alias("rewards"))
        .join(lake.scan(SCORERS), on="scorer_id")
        .sort("rewards", "scorer_id", descending=[True, False])
        .select("scorer_id", "name")
        .collect()
    )


def _id_of(part: str, *, there: pl.DataFrame) -> str:
    found = there.filter(pl.col("name") == part)["scorer_id"]
    if not len(found):
        known = ", ".join(sorted(set(there["name"]))) or "none"
        raise InputError(
            f"it reads the rewards of '{part}', which has rewarded nothing of this "
            f"dataset and does not run either; name it with --scorers or in the file of --labels. "
            f"Scorers with rewards: {known}"
        )
    return str(found[0])


def _read(ids: Mapping[str, str], *, queries: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """One row an answer that one of them has seen: `learned`, and its reward and reason by each."""
    asked = queries.lazy().select("query_id", learned=pl.col("split").is_in(LEARNED))
    rows = lake.scan(REWARDS).filter(pl.col("scorer_id").is_in(list(ids.values())))
    rows = rows.join(asked, on="query_id")
    value = pl.col("value").fill_nan(None)
    columns = {}
    for name, scorer_id in ids.items():
        own = pl.col("scorer_id") == scorer_id
        columns[read_column(name)] = value.filter(own).first()
        columns[reason_column(name)] = pl.col("reason").filter(own).first()
    return rows.group_by(ANSWER).agg(pl.col("learned").first(), **columns).collect()

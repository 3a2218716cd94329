"""The `preferences` of a dataset as outcomes: one row a battle, for the methods that compare.

A battle's outcome is 1 where the judge prefers candidate a, 0 where b, 1/2 for a tie. Its row holds
outcome and 1 − outcome as the two rewards and nothing of the other candidates, so the preference
made of them, (1 + r_a − r_b) / 2, is the outcome again (`cluster.routers.pairs`). They are no
rewards: whoever takes means of them learns who was met, not who is good. How they are added to a
scorer's rows, RouteLLM's data augmentation (ICLR 2025, arXiv 2406.18665, section 4.1), is in
`cluster.routers.lesson`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.lake.candidates import long_name, newest_specs
from cluster.lake.lake import Lake
from cluster.lake.outcomes import QUERY_COLUMNS
from cluster.lake.tables import CANDIDATES, PREFERENCES, QUERIES, Table
from cluster.outcome import FloatMatrix, OutcomeMatrix

INPUTS: tuple[Table, ...] = (QUERIES, CANDIDATES, PREFERENCES)
# Names shown of what may be thousands.
JUDGES_SHOWN = 20
SIDES = ("candidate_a", "candidate_b")


def read_preferences(
    lake: Lake,
    *,
    dataset: str,
    judge: str = "",
    candidates: Sequence[str] = (),
    versions: Mapping[str, int] | None = None,
) -> OutcomeMatrix:
    """The battles of a dataset under one judge, as an outcome matrix with a row a battle.

    Rows are ordered by query, then by candidates; a query with several battles has several rows
    under its id. Tokens and costs are NaN: battles do not tell them.

    Args:
        lake: the lake.
        dataset: whose queries.
        judge: whose verdicts; empty: of the only judge there is.
        candidates: readable names to keep, in this order, with or without battles; empty: all that
            have one, by name. A candidate that the lake has no spec of goes by its id.
        versions: table name → Delta version to read, for a pinned view.

    Raises:
        InputError: no battle of the dataset, several judges or not the one that was named, an
            outcome that is not between 0 and 1, or a candidate against itself.
    """
    pinned = versions or {}

    def scan(table: Table) -> pl.LazyFrame:
        return lake.scan(table, version=pinned.get(table.name))

    queries = scan(QUERIES).filter(pl.col("dataset") == dataset).select(QUERY_COLUMNS)
    rows = scan(PREFERENCES).filter(pl.col("outcome").is_not_null()).join(queries, on="query_id")
    where = lake.table_uri(PREFERENCES)
    battles = of_judge(rows.collect(), judge=judge, dataset=dataset, where=where)
    check_battles(battles, where=where)
    names = candidate_names(battles, specs=newest_specs(scan(CANDIDATES)).collect())
    return as_outcomes(battles, names=names, wanted=candidates)


def check_preferences(lake: Lake, *, dataset: str, judge: str) -> None:
    """Make sure that there are battles of a dataset before one judge; reads no text.

    Raises:
        InputError: as `read_preferences`, with the datasets that have battles.
    """
    queries = lake.scan(QUERIES).select("query_id", "dataset")
    fought = lake.scan(PREFERENCES).join(queries, on="query_id").select("dataset", "judge")
    judged = fought.unique().sort("dataset", "judge").collect()
    if dataset not in judged["dataset"]:
        there = ", ".join(judged["dataset"].unique().sort()) or "none"
        raise InputError(
            f"{lake.table_uri(PREFERENCES)}: dataset '{dataset}' has no battles; datasets that "
            f"have: {there}; bring some in with 'signalbox import --format battles'"
        )
    own = judged.filter(pl.col("dataset") == dataset)
    of_judge(own, judge=judge, dataset=dataset, where=lake.table_uri(PREFERENCES))


def of_judge(battles: pl.DataFrame, *, judge: str, dataset: str, where: str) -> pl.DataFrame:
    """The battles of one judge.

    Raises:
        InputError: there are none, or of several judges and none was named.
    """
    judges = battles["judge"].unique().sort().to_list()
    if not judges:
        raise InputError(f"{where}: no preferences of dataset '{dataset}'; collect battles first")
    more = ", …" if len(judges) > JUDGES_SHOWN else ""
    if judge and judge not in judges:
        raise InputError(
            f"{where}: no preferences of judge '{judge}' on dataset '{dataset}'; judges there: "
            f"{', '.join(judges[:JUDGES_SHOWN])}{more}"
        )
    if not judge and len(judges) > 1:
        raise InputError(
            f"{where}: dataset '{dataset}' has preferences of several judges "
            f"({', '.join(judges[:JUDGES_SHOWN])}{more}); name one with --judge"
        )
    return battles.filter(pl.col("judge") == (judge or judges[0]))


def check_battles(battles: pl.DataFrame, *, where: str) -> None:
    """Make sure that every battle is one.

    Raises:
        InputError: an outcome is not between 0 and 1, or a candidate meets itself.
    """
    outside = battles.filter(~pl.col("outcome").is_between(0, 1))
    itself = battles.filter(pl.col("candidate_a") == pl.col("candidate_b"))
    for found, fault in (
        (outside, "field 'outcome' is {outcome}, expected 0 to 1 (1 where a is preferred)"),
        (itself, "candidate '{candidate_a}' is compared with itself"),
    ):
        if found.height:
            row = found.row(0, named=True)
            raise InputError(f"{where}: query '{row['query_id']}': " + fault.format(**row))


def candidate_names(battles: pl.DataFrame, *, specs: pl.DataFrame) -> dict[str, str]:
    """candidate_id → readable name of all that have a battle, sorted by name.

    The long name where several ids share one; the id itself where there is no spec.
    """
    ids = pl.concat([battles[side].alias("candidate_id") for side in SIDES]).unique()
    known = ids.to_frame().join(specs, on="candidate_id", how="left")
    named = known.with_columns(pl.col("name").fill_null(pl.col("candidate_id")))
    shared = set(named.filter(pl.col("name").is_duplicated())["name"])
    pairs = named.select("name", "candidate_id").iter_rows()
    return {
        key: name
        for name, key in sorted(
            (long_name(name, candidate_id=key) if name in shared else name, key)
            for name, key in pairs
        )
    }


def as_outcomes(
    battles: pl.DataFrame, *, names: Mapping[str, str], wanted: Sequence[str]
) -> OutcomeMatrix:
    """The matrices; battles with a candidate that is not wanted are left out."""
    ids = {name: key for key, name in names.items()}
    columns = {ids.get(name, name): place for place, name in enumerate(wanted or ids)}
    kept = battles.filter(*(pl.col(side).is_in(list(columns)) for side in SIDES)).sort(
        "query_id", *SIDES
    )
    shape = (kept.height, len(columns))
    reward = np.full(shape, np.nan)
    outcome = kept["outcome"].to_numpy()
    for side, value in zip(SIDES, (outcome, 1 - outcome), strict=True):
        place = kept[side].replace_strict(columns, return_dtype=pl.Int64).to_numpy()
        reward[np.arange(kept.height), place] = value

    def unknown() -> FloatMatrix:
        return np.full(shape, np.nan)

    return OutcomeMatrix(
        queries=kept.select(QUERY_COLUMNS),
        candidates=tuple(wanted or ids),
        candidate_ids=tuple(columns),
        reward=reward,
        prompt_tokens=unknown(),
        completion_tokens=unknown(),
        cost_usd=unknown(),
        n_samples=(~np.isnan(reward)).astype(np.float64),
        truncated=np.zeros(shape),
    )

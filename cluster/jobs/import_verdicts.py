"""The part of the import job that keeps users' verdicts, as rewards of a scorer of their own."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from cluster import registry
from cluster.errors import InputError
from cluster.files.batch import Batch
from cluster.files.quarantine import Quarantine
from cluster.importers.verdict_table import SCORER, VerdictTable
from cluster.importers.verdicts import broken_rows
from cluster.jobs.imported import LOG, hashed
from cluster.jobs.run import Manifest, Run
from cluster.lake.candidates import long_name, newest_specs
from cluster.lake.commit import append_new, put_rewards
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES, QUERIES, REWARDS, SCORERS
from cluster.routers.checkpoint import read_manifest

BIAS = (
    "users judge only the answer they were given: where a router chose, a candidate's verdicts are "
    "from the queries it was chosen for, and say nothing of the others; 'route --explore' sends "
    "some queries to any of them, and writes how likely each choice was"
)


def keep_verdicts(table: VerdictTable, *, dataset: str, format_name: str, run: Run) -> Manifest:
    """Put the mean verdict on each query and candidate in place of an earlier one; returns counts.

    A file is taken to hold all verdicts there are on what it names, so the same file again changes
    nothing, and a longer one replaces. A text that several queries have is judged in all of them.

    Args:
        table: what was read.
        dataset: whose queries may be meant; empty for all.
        format_name: of the importer.
        run: of the job; its folder gets the quarantine.

    Raises:
        InputError: no verdict is on a known query and candidate.
    """
    lake = Lake.open(run.storage.uri)
    known, unknown = _identified(table.rows, dataset=dataset, lake=lake)
    uri = run.uri("quarantine.jsonl")
    broken = pl.concat([table.broken, broken_rows(unknown)]).sort("file", "row")
    # A routed file holds many queries that the lake does not, so no share of these is too great.
    empty = "no verdict is on a known query and candidate"
    with Quarantine(uri, max_error_share=1.0, empty=empty) as quarantine:
        good = known.select("file", "row").unique()
        quarantine.add(Batch(file="", frame=good, broken=broken, first_row=1))
        quarantine.finish()
    rewards = _rewards(known, format_name=format_name)
    changes = _changed(rewards, lake=lake)
    _keep(rewards, changes=changes, format_name=format_name, lake=lake)
    LOG.info("%s", BIAS)
    return {
        "outputs": [],
        "dataset": dataset,
        "scorers": [SCORER],
        "verdicts": known.select("file", "row", "kind").unique().height,
        "rewards": rewards.height,
        "new_or_changed_rewards": changes.height,
        "rows_without_verdict": table.silent,
        "broken": broken.height,
        "quarantine": uri if broken.height else None,
        "reasons": _reasons(broken),
        "with_choice_probability": int(known["choice_probability"].is_not_null().sum()),
        "candidates": sorted(set(known["candidate"])),
        "notes": [*table.notes, BIAS],
        "counts": _counts(known),
    }


def _identified(
    rows: pl.DataFrame, *, dataset: str, lake: Lake
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Verdicts with the ids of query and candidate, and those without, with the reason."""
    rows = rows.with_row_index("place")
    named = _with_candidates(rows, lake=lake)
    queries = _queries(rows, dataset=dataset, lake=lake)
    found = named.join(queries, on="place", how="left", maintain_order="left_right")
    where = f"dataset '{dataset}'" if dataset else "the lake"
    reason = (
        pl.when(pl.col("found").is_null())
        .then(pl.lit(f"no such query in {where}; collect it first, or route with --feedback"))
        .otherwise(pl.col("trouble"))
    )
    judged = found.with_columns(reason=reason).drop("place", "trouble")
    bad = judged.filter(pl.col("reason").is_not_null()).drop("found", "candidate_id")
    good = judged.filter(pl.col("reason").is_null()).drop("reason", "query_id")
    return good.rename({"found": "query_id"}), bad


def _queries(rows: pl.DataFrame, *, dataset: str, lake: Lake) -> pl.DataFrame:
    """`place` of a verdict and `found`, the id of a query it is on: by its id, else by its text.

    And `sampling_probability`, with which that query came into the lake.
    """
    there = lake.scan(QUERIES).select("query_id", "text", "dataset", "sampling_probability")
    if dataset:
        there = there.filter(pl.col("dataset") == dataset)
    found = ("place", pl.col("query_id").alias("found"), "sampling_probability")
    by_id = rows.lazy().select("place", "query_id").drop_nulls()
    by_id = by_id.join(there, on="query_id").select(found)
    by_text = rows.lazy().select("place", "text").drop_nulls()
    by_text = by_text.join(there, on="text").select(found)
    named = by_id.collect()
    others = by_text.collect().join(named, on="place", how="anti")
    return pl.concat([named, others]).sort("place", "found")


def _with_candidates(rows: pl.DataFrame, *, lake: Lake) -> pl.DataFrame:
    """With `candidate_id`, and `trouble` in words where a name is of nobody, or of several."""
    specs = newest_specs(lake.scan(CANDIDATES)).select("name", "candidate_id").collect()
    by_router = {
        version: _routers_own(version, lake=lake)
        for version in rows["router"].drop_nulls().unique().sort()
    }
    pairs = rows.select("router", "candidate").unique()
    told = [
        _candidate(name, own=by_router.get(version, {}), specs=specs)
        for version, name in pairs.iter_rows()
    ]
    ids, trouble = zip(*told, strict=True) if told else ((), ())
    named = pairs.with_columns(
        pl.Series("candidate_id", ids, dtype=pl.String),
        pl.Series("trouble", trouble, dtype=pl.String),
    )
    return rows.join(
        named, on=["router", "candidate"], how="left", nulls_equal=True, maintain_order="left"
    )


def _candidate(
    name: str, *, own: Mapping[str, str], specs: pl.DataFrame
) -> tuple[str | None, str | None]:
    """The id of a candidate, or what is wrong with its name."""
    if name in own:
        return own[name], None
    ids = [
        key
        for known, key in specs.iter_rows()
        if name in (known, key, long_name(known, candidate_id=key))
    ]
    if len(ids) == 1:
        return ids[0], None
    if not ids:
        return None, f"no candidate '{name}' in the lake; it goes by the name routing wrote"
    longer = ", ".join(sorted(long_name(name, candidate_id=key) for key in ids))
    return None, f"the lake has {len(ids)} candidates named '{name}'; write one of {longer}"


def _routers_own(version: str, *, lake: Lake) -> dict[str, str]:
    """name → id of a router's candidates; nothing where no such router is known here."""
    try:
        manifest = read_manifest(registry.resolve(lake, version=version)["checkpoint"])
    except InputError:
        return {}
    return dict(zip(manifest.candidates, manifest.candidate_ids, strict=True))


def _rewards(known: pl.DataFrame, *, format_name: str) -> pl.DataFrame:
    """One reward a query and candidate: the mean of the verdicts, weighing as many."""
    means = known.group_by("query_id", "candidate_id").agg(
        value=pl.col("value").mean(), weight=pl.len().cast(pl.Float64)
    )
    scorer = hashed(pl.Series([SCORER]), prefix=["imported", format_name])[0]
    rows = means.with_columns(
        scorer_id=pl.lit(scorer), sample=pl.lit(0, dtype=pl.Int32), raw=pl.col("value")
    )
    return REWARDS.conform(rows.sort("query_id", "candidate_id")).collect()


def _changed(rewards: pl.DataFrame, *, lake: Lake) -> pl.DataFrame:
    """The rewards that are not in the lake as they are here."""
    columns = [*REWARDS.key, "value", "weight"]
    own = rewards.lazy().select("scorer_id").unique()
    there = lake.scan(REWARDS).join(own, on="scorer_id", how="semi").select(columns)
    return rewards.join(there.collect(), on=columns, how="anti", maintain_order="left")


def _keep(rewards: pl.DataFrame, *, changes: pl.DataFrame, format_name: str, lake: Lake) -> None:
    if changes.is_empty():
        return
    spec = pl.lit(json.dumps({"imported": format_name}))
    scorers = rewards.select("scorer_id", name=pl.lit(SCORER), spec=spec).unique()
    append_new(scorers, lake=lake, table=SCORERS)
    put_rewards(changes, lake=lake)


def _reasons(broken: pl.DataFrame) -> list[dict[str, Any]]:
    counts = broken.group_by("reason").len("rows").sort("rows", "reason", descending=[True, False])
    return counts.head(20).to_dicts()


def _counts(known: pl.DataFrame) -> list[dict[str, Any]]:
    """By candidate: verdicts, their mean, and an estimate of the mean over all queries.

    The estimate weighs each verdict by the inverse of its probability (Hájek 1971): that of the
    candidate's being chosen for the query, which exploration makes known, times that of the
    query's being in the lake, which 'route --feedback' brings in more of where the router is
    unsure. A text of several queries has the greatest of theirs. None where it is not known of all.
    """
    once = known.group_by("file", "row", "kind", "candidate").agg(
        pl.col("value", "choice_probability").first(), pl.col("sampling_probability").max()
    )
    probability = pl.col("choice_probability") * pl.col("sampling_probability")
    inverse = 1.0 / probability
    known_of_all = probability.gt(0).fill_null(False).all()
    counts = once.group_by("candidate").agg(
        verdicts=pl.len(),
        mean=pl.col("value").mean(),
        mean_over_all=pl.when(known_of_all).then((pl.col("value") * inverse).sum() / inverse.sum()),
    )
    return counts.sort("candidate").to_dicts()

"""The import job: what others have measured becomes queries, candidates, rewards and battles.

Users' verdicts are about queries and candidates that are there, and become rewards alone.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from cluster.errors import InputError
from cluster.importers.battle_table import BattleTable
from cluster.importers.score_table import ScoreTable
from cluster.importers.verdict_table import VerdictTable
from cluster.jobs.import_battles import keep_battles
from cluster.jobs.import_verdicts import keep_verdicts
from cluster.jobs.imported import (
    LOG,
    hashed,
    identified,
    stored_queries,
    tell_known,
    with_query_ids,
)
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.candidates import keep_specs
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import (
    COMPLETIONS,
    QUERIES,
    REWARDS,
    SCORERS,
    TAGGERS,
    TAGS,
)
from cluster.plugins import load_plugin
from cluster.query import digest


class ImportSpec(JobSpec):
    """What to import.

    Attributes:
        format: name of the importer.
        path: the folder or file it reads.
        digest: sha256 over the files' names, sizes and times of change (contents of a big clone
            would take minutes to read), so that changed files are other work.
        dataset: name the queries are kept under; of verdicts, whose queries may be meant, or empty.
        split: the split every row gets, or empty to keep what the files say.
        calibration: share of imported train that becomes calibration.
        options: settings of the importer.
    """

    job: ClassVar[str] = "import_table"

    format: str
    path: str
    digest: str
    dataset: str
    split: str = ""
    calibration: float = 0.0
    options: dict[str, Any] = Field(default_factory=dict)


def path_digest(path: str) -> str:
    """sha256 over names, sizes and times of the files below a path; a changed clone is other work.

    Raises:
        InputError: nothing is there.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise InputError(f"{path}: there is no such file or folder; check --path")
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    facts = [(str(file), file.stat()) for file in files if file.is_file()]
    return digest([f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in facts])


def import_table(spec: ImportSpec, run: Run) -> Manifest:
    """Read the table and append what is new; returns counts per task and split.

    Raises:
        InputError: the files are not of that format.
    """
    table: ScoreTable | BattleTable | VerdictTable = load_plugin("importers", name=spec.format)(
        spec.path, **spec.options
    )
    for note in table.notes:
        LOG.info("%s", note)
    if isinstance(table, VerdictTable):
        return keep_verdicts(table, dataset=spec.dataset, format_name=spec.format, run=run)
    return _keep_table(table, spec=spec, run=run)


def _keep_table(table: ScoreTable | BattleTable, *, spec: ImportSpec, run: Run) -> Manifest:
    """Append queries and what was measured or judged on them; returns counts."""
    if not spec.split and set(table.queries["split"]) == {"test"}:
        LOG.warning(
            "the files name no split, or test alone: all %d queries are test and nothing can be "
            "trained on them; name a split with --split",
            table.queries.height,
        )
    lake = Lake.open(spec.lake)
    run.progress(Part("queries", done=0, total=table.queries.height), now=True)
    queries = identified(
        table.queries,
        dataset=spec.dataset,
        split=spec.split,
        calibration=spec.calibration,
        source=spec.path,
    )
    added = append_new(stored_queries(queries), lake=lake, table=QUERIES)
    known = queries.height - added
    if isinstance(table, BattleTable):
        kept = keep_battles(table, queries=queries, known=known, format_name=spec.format, lake=lake)
    else:
        kept = _keep_scores(table, queries=queries, known=known, spec=spec, lake=lake)
    run.progress(Part("queries", done=queries.height, total=queries.height), now=True)
    return {
        "outputs": [],
        "dataset": spec.dataset,
        "queries": queries.height,
        "new_queries": added,
        "queries_already_there": known,
        **kept,
        "candidates": table.candidates,
        "left_out": table.left_out.to_dicts(),
        "notes": list(table.notes),
        "counts": _counts(queries),
    }


def _keep_scores(
    table: ScoreTable, *, queries: pl.DataFrame, known: int, spec: ImportSpec, lake: Lake
) -> Manifest:
    """Append rewards, completions and tags; `known`: queries that were there already."""
    rows = _rows(table, queries=queries, spec=spec)
    _append_names(rows, spec=spec, lake=lake)
    rewards = REWARDS.conform(rows).collect().unique(list(REWARDS.key), maintain_order=True)
    new_rewards = append_new(rewards, lake=lake, table=REWARDS)
    append_new(_completions(rows), lake=lake, table=COMPLETIONS)
    _append_tags(table, queries=queries, lake=lake)
    tell_known(known, what="rewards", others=rewards.height - new_rewards)
    return {
        "new_rewards": new_rewards,
        "rewards_already_there": rewards.height - new_rewards,
        "scorers": sorted(set(table.rows["scorer"])),
    }


def _counts(queries: pl.DataFrame) -> list[dict[str, Any]]:
    """By task, and by the split that the queries have in the lake."""
    kept = queries.select("task", split="kept_split")
    return kept.group_by("task", "split").len("queries").sort("task", "split").to_dicts()


def _rows(table: ScoreTable, *, queries: pl.DataFrame, spec: ImportSpec) -> pl.DataFrame:
    """The table's rows with the ids of their queries, candidates and scorers."""
    rows = with_query_ids(table.rows, queries=queries)
    return rows.with_columns(
        candidate_id=hashed(rows["candidate"], prefix=["imported"]),
        scorer_id=hashed(rows["scorer"], prefix=["imported", spec.format]),
        sample=pl.lit(0, dtype=pl.Int32),
    )


def _append_names(rows: pl.DataFrame, *, spec: ImportSpec, lake: Lake) -> None:
    """What stands behind the ids of candidates and scorers."""
    spec_text = json.dumps({"imported": spec.format})
    candidates = rows.select("candidate_id", name="candidate", spec=pl.lit(spec_text)).unique()
    keep_specs(candidates, lake=lake)
    scorers = rows.select("scorer_id", name="scorer", spec=pl.lit(spec_text)).unique()
    append_new(scorers, lake=lake, table=SCORERS)


def _completions(rows: pl.DataFrame) -> pl.DataFrame:
    """What the table says of the answers themselves: text, tokens, cost; rows without are none."""
    known = pl.any_horizontal(
        pl.col("answer", "prompt_tokens", "completion_tokens", "cost_usd").is_not_null()
    )
    once = rows.filter(known).unique(["query_id", "candidate_id"], maintain_order=True)
    return once.select(
        "query_id",
        "candidate_id",
        "sample",
        text=pl.col("answer"),
        finish_reason=pl.lit(None, dtype=pl.String),
        prompt_tokens=pl.col("prompt_tokens").round().cast(pl.Int32),
        completion_tokens=pl.col("completion_tokens").round().cast(pl.Int32),
        seconds=pl.lit(None, dtype=pl.Float64),
        outcome=pl.lit("ok"),
        error=pl.lit(None, dtype=pl.String),
        cost_usd="cost_usd",
    )


def _append_tags(table: ScoreTable, *, queries: pl.DataFrame, lake: Lake) -> None:
    if table.tags.is_empty():
        return
    tags = with_query_ids(table.tags, queries=queries)
    tags = tags.with_columns(tagger_id=hashed(tags["tagger"], prefix=["imported"]))
    names = tags.select("tagger_id", pl.col("tagger").alias("name"), spec=pl.lit("{}")).unique()
    append_new(names, lake=lake, table=TAGGERS)
    append_new(tags.select(TAGS.columns), lake=lake, table=TAGS)


if __name__ == "__main__":
    main(ImportSpec, work=import_table)

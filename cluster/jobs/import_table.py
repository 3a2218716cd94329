"""The import job: score tables made elsewhere become queries, candidates and rewards."""

import json
import logging
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from cluster.errors import InputError
from cluster.importers.score_table import ScoreTable
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
from cluster.query import digest, imported_query_id, imported_split

LOG = logging.getLogger("signalbox.import")
QUERY = ["split", "task", "text", "occurrence"]


class ImportSpec(JobSpec):
    """What to import.

    Attributes:
        format: name of the importer.
        path: the folder or file it reads.
        digest: sha256 over the files' names, sizes and times of change (contents of a big clone
            would take minutes to read), so that changed files are other work.
        dataset: name the queries are kept under.
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
    table: ScoreTable = load_plugin("importers", name=spec.format)(spec.path, **spec.options)
    for note in table.notes:
        LOG.info("%s", note)
    if not spec.split and set(table.queries["split"]) == {"test"}:
        LOG.warning(
            "the files name no split, or test alone: all %d queries are test and nothing can be "
            "trained on them; name a split with --split",
            table.queries.height,
        )
    lake = Lake.open(spec.lake)
    run.progress(Part("queries", done=0, total=table.queries.height), now=True)
    queries = _queries(table, spec=spec)
    rows = _rows(table, queries=queries, spec=spec)
    added = append_new(_stored(queries), lake=lake, table=QUERIES)
    _append_names(rows, spec=spec, lake=lake)
    rewards = rows.select(REWARDS.columns).unique(list(REWARDS.key), maintain_order=True)
    new_rewards = append_new(rewards, lake=lake, table=REWARDS)
    append_new(_completions(rows), lake=lake, table=COMPLETIONS)
    _append_tags(table, queries=queries, lake=lake)
    run.progress(Part("queries", done=queries.height, total=queries.height), now=True)
    _tell_known(queries.height - added, rewards=rewards.height - new_rewards)
    return {
        "outputs": [],
        "dataset": spec.dataset,
        "queries": queries.height,
        "new_queries": added,
        "queries_already_there": queries.height - added,
        "new_rewards": new_rewards,
        "rewards_already_there": rewards.height - new_rewards,
        "candidates": table.candidates,
        "scorers": sorted(set(table.rows["scorer"])),
        "left_out": table.left_out.to_dicts(),
        "notes": list(table.notes),
        "counts": _counts(queries),
    }


def _counts(queries: pl.DataFrame) -> list[dict[str, Any]]:
    return queries.group_by("task", "split").len("queries").sort("task", "split").to_dicts()


def _tell_known(queries: int, *, rewards: int) -> None:
    if queries or rewards:
        LOG.info(
            "%d queries and %d rewards were in the lake already and stay as they are; to bring in "
            "changed values, import under another --dataset",
            queries,
            rewards,
        )


def _rows(table: ScoreTable, *, queries: pl.DataFrame, spec: ImportSpec) -> pl.DataFrame:
    """The table's rows with the ids of their queries, candidates and scorers."""
    rows = table.rows.join(queries.select(*QUERY, "query_id"), on=QUERY, nulls_equal=True)
    return rows.with_columns(
        candidate_id=_hashed(rows["candidate"], prefix=["imported"]),
        scorer_id=_hashed(rows["scorer"], prefix=["imported", spec.format]),
        sample=pl.lit(0, dtype=pl.Int32),
    )


def _hashed(names: pl.Series, *, prefix: list[str]) -> pl.Series:
    """Ids of imported names."""
    ids = {name: digest([*prefix, name]) for name in names.unique()}
    return names.replace_strict(ids, return_dtype=pl.String)


def _queries(table: ScoreTable, *, spec: ImportSpec) -> pl.DataFrame:
    """One row a query: its key in the table, its identity, and the split it gets here."""
    queries = table.queries
    stated = [spec.split or split for split in queries["split"]]
    tasks, texts = queries["task"].fill_null(""), queries["text"]
    occurrences = _occurrences(queries, stated=stated)
    ids = [
        imported_query_id(text, dataset=spec.dataset, split=split, task=task, occurrence=number)
        for text, split, task, number in zip(texts, stated, tasks, occurrences, strict=True)
    ]
    splits = [
        imported_split(text, split=split, calibration_share=spec.calibration)
        for text, split in zip(texts, stated, strict=True)
    ]
    return queries.with_columns(
        query_id=pl.Series(ids),
        kept_split=pl.Series(splits),
        dataset=pl.lit(spec.dataset),
        source=pl.lit(spec.path),
    )


def _occurrences(queries: pl.DataFrame, *, stated: list[str]) -> pl.Series:
    """The running number of a repetition, counted anew when `--split` throws splits together."""
    under = queries.with_columns(pl.Series("stated", stated)).select(
        pl.int_range(pl.len()).over("stated", "task", "text").alias("occurrence")
    )
    return under["occurrence"]


def _stored(queries: pl.DataFrame) -> pl.DataFrame:
    return queries.select(
        "query_id",
        "dataset",
        pl.col("task").fill_null(""),
        "text",
        pl.lit(None, dtype=pl.String).alias("messages"),
        "reference",
        "source",
        pl.col("kept_split").alias("split"),
        pl.lit(1.0).alias("sampling_probability"),
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
    tags = table.tags.join(queries.select(*QUERY, "query_id"), on=QUERY, nulls_equal=True)
    tags = tags.with_columns(tagger_id=_hashed(tags["tagger"], prefix=["imported"]))
    names = tags.select("tagger_id", pl.col("tagger").alias("name"), spec=pl.lit("{}")).unique()
    append_new(names, lake=lake, table=TAGGERS)
    append_new(tags.select(TAGS.columns), lake=lake, table=TAGS)


if __name__ == "__main__":
    main(ImportSpec, work=import_table)

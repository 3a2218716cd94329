"""Tags in a model's own words: written part by part, kept, and normalised in the end."""

import logging
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from cluster.jobs.label_worker import work_in_actors
from cluster.jobs.run import Part, Run
from cluster.lake.commit import append_new, delete_missing_tags
from cluster.lake.lake import Lake
from cluster.lake.tables import RAW_TAGS
from cluster.lake.vocabularies import Normalised, normalise
from cluster.rewards.scorer import Usage
from cluster.tags.open_vocabulary import OpenTagger

LOG = logging.getLogger("signalbox.label")
# What a killed run asks again is at most a part for each actor.
QUERIES_A_PART = 512


@dataclass
class Written:
    """What became of the queries a tagger was asked about.

    Attributes:
        asked: queries it was asked about.
        answered: queries of which there is word now, if only why they have no tag.
        reasons: why there is no tag, with the number of times.
        usage: tokens and USD.
    """

    asked: int = 0
    answered: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def add(self, rows: pl.DataFrame, *, asked: int) -> None:
        """Count the rows written of so many queries."""
        self.asked += asked
        self.answered += rows["query_id"].n_unique()
        for reason, count in rows["reason"].drop_nulls().value_counts().iter_rows():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        first = rows.filter(pl.col("place") == 0)
        priced = first["cost_usd"].null_count() == 0
        self.usage += Usage(
            int(first["prompt_tokens"].sum()),
            int(first["completion_tokens"].sum()),
            float(first["cost_usd"].sum()) if priced else None,
        )


def tag_openly(
    tagger: OpenTagger,
    *,
    name: str,
    queries: pl.DataFrame,
    lake: Lake,
    run: Run,
    retry: bool = False,
) -> dict[str, Any]:
    """Ask about the queries that this model has not seen, then give all of them their tags.

    `retry`: also about those it gave no tag.

    Raises:
        EngineError: the model cannot be loaded, or its workers keep dying.
        InputError: the vocabulary's encoder is not installed, or its settings are wrong.
    """
    if retry:
        missing = _without_tags(queries, lake=lake, writer_id=tagger.writer_id)
        delete_missing_tags(missing, lake=lake, writer_id=tagger.writer_id)
    written = _write(tagger, name=name, queries=queries, lake=lake, run=run)
    done = normalise(lake, name=name, spec=tagger.described())
    _tell(name, written=written, done=done)
    return {
        "new": done.new_tags,
        "tags": done.tags,
        "asked": written.asked,
        "not_answered": written.asked - written.answered,
        "without_tag": written.reasons,
        "coverage": done.coverage,
        "vocabulary": done.version.sequence,
        "new_vocabulary": done.is_new,
        **asdict(written.usage),
    }


def _write(
    tagger: OpenTagger, *, name: str, queries: pl.DataFrame, lake: Lake, run: Run
) -> Written:
    """Raw tags of the queries without; committed part by part."""
    writer_id = tagger.writer_id
    seen = lake.scan(RAW_TAGS).filter(pl.col("writer_id") == writer_id).select("query_id").unique()
    asked = queries.join(seen.collect(), on="query_id", how="anti", maintain_order="left")
    parts = list(asked.select("query_id", "task", "text").iter_slices(QUERIES_A_PART))
    written = Written()
    if asked.is_empty():
        return written
    for part, rows in zip(
        parts, work_in_actors(tagger, parts=parts, placement=tagger.placement), strict=True
    ):
        kept = rows.with_columns(writer_id=pl.lit(writer_id)).select(RAW_TAGS.columns)
        append_new(kept, lake=lake, table=RAW_TAGS)
        written.add(rows, asked=part.height)
        run.progress(Part(f"tags {name}", written.asked, asked.height, unit="queries"))
    return written


def _without_tags(queries: pl.DataFrame, *, lake: Lake, writer_id: str) -> pl.DataFrame:
    """`query_id` of the queries that were asked about and have no raw tag."""
    written = lake.scan(RAW_TAGS).filter(pl.col("writer_id") == writer_id)
    counts = written.group_by("query_id").agg(pl.col("raw_tag").count()).collect()
    empty = counts.filter(pl.col("raw_tag") == 0).select("query_id")
    return empty.join(queries, on="query_id", how="semi")


def _tell(name: str, *, written: Written, done: Normalised) -> None:
    """What a person should know: missing tags by reason, and a new vocabulary."""
    for reason, count in sorted(written.reasons.items()):
        LOG.warning("%s: %s (%d times)", name, reason, count)
    missing = written.asked - written.answered
    if missing:
        again = "new queries or --retry-errors ask again"
        LOG.warning("%s: %d queries were not answered; %s", name, missing, again)
    if not done.queries:
        LOG.warning(
            "%s: no query has a tag in the model's own words, of %d asked now; look at its answers "
            "and its prompt, --retry-errors asks again",
            name,
            written.asked,
        )
        return
    if not done.tags:
        LOG.warning("%s: no tag is on enough queries to count (setting vocabulary.alpha)", name)
    if done.is_new:
        version = done.version
        LOG.info(
            "%s: vocabulary %d, for %s: %d tags, on %.0f %% of %d queries the model tagged",
            name,
            version.sequence,
            version.why,
            done.tags,
            100 * done.coverage,
            version.queries,
        )

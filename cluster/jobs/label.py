"""The label job: rewards and tags for what has none yet."""

import json
import logging
from typing import Any, ClassVar

import polars as pl

from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, QUERIES, REWARDS, SCORERS, TAGGERS, TAGS
from cluster.rewards.scorer import Scorer, load_scorer
from cluster.spec import IdentifiedSpec
from cluster.tags.tagger import Tagger, load_tagger

LOG = logging.getLogger("signalbox.label")
# Bounds the memory of scoring: about 200 MB at 1,000 characters an answer.
ROWS_AT_ONCE = 100_000


class LabelSpec(JobSpec):
    """What to label.

    Attributes:
        dataset: whose completions and queries.
        scorers: names of the scorers to run, with their default settings.
        taggers: names of the taggers to run, with their default settings.
        inputs: versions of the tables the work depends on.
    """

    job: ClassVar[str] = "label"

    dataset: str
    scorers: tuple[str, ...]
    taggers: tuple[str, ...]
    inputs: dict[str, int]


def label(spec: LabelSpec, run: Run) -> Manifest:
    """Score every answer and tag every query that a scorer or tagger has not seen yet."""
    lake = Lake.open(spec.lake)
    queries = (
        lake.scan(QUERIES, version=spec.inputs["queries"])
        .filter(pl.col("dataset") == spec.dataset)
        .collect()
    )
    rewards = {
        name: _reward(load_scorer(name), queries=queries, spec=spec, lake=lake, run=run)
        for name in spec.scorers
    }
    tags = {name: _tag(load_tagger(name), queries=queries, lake=lake) for name in spec.taggers}
    return {"outputs": [], "rewards": rewards, "tags": tags, "dataset": spec.dataset}


def _reward(
    scorer: Scorer, *, queries: pl.DataFrame, spec: LabelSpec, lake: Lake, run: Run
) -> dict[str, Any]:
    """Score what this scorer has not scored; returns counts and the mean."""
    append_new(_described(scorer, table="scorer_id"), lake=lake, table=SCORERS)
    answers = _unscored(scorer, queries=queries, spec=spec, lake=lake)
    new, scored = 0, []
    for part in answers.iter_slices(ROWS_AT_ONCE):
        values = finite(scorer.score(part.select("query", "text", "reference")), scorer=scorer.name)
        rows = part.select("query_id", "candidate_id", "sample").with_columns(
            value=values, scorer_id=pl.lit(scorer.scorer_id), weight=pl.lit(1.0)
        )
        scored.append(rows.drop_nulls("value").select(REWARDS.columns))
        new += append_new(scored[-1], lake=lake, table=REWARDS)
        run.progress(Part(f"reward {scorer.name}", done=new, total=answers.height))
    unscored = answers.height - sum(part.height for part in scored)
    if unscored:
        LOG.warning("%s: %d answers have no usable reference and no reward", scorer.name, unscored)
    mean = pl.concat(scored)["value"].mean() if scored else None
    return {"new": new, "without_reference": unscored, "mean": mean}


def finite(values: pl.Series, *, scorer: str) -> pl.Series:
    """Rewards as they are, (n_answers,), null where a scorer gave NaN or infinity: that is none."""
    numbers = values.cast(pl.Float64)
    odd = int((~numbers.is_finite()).sum())
    if odd:
        LOG.warning("%s: %d rewards are NaN or infinite and count as missing", scorer, odd)
    return pl.select(value=pl.when(numbers.is_finite()).then(numbers)).to_series()


def _unscored(
    scorer: Scorer, *, queries: pl.DataFrame, spec: LabelSpec, lake: Lake
) -> pl.DataFrame:
    done = lake.scan(REWARDS).filter(pl.col("scorer_id") == scorer.scorer_id)
    asked = queries.lazy().select("query_id", "reference", pl.col("text").alias("query"))
    return (
        lake.scan(COMPLETIONS, version=spec.inputs["completions"])
        .filter(pl.col("outcome") != "error")
        .join(asked, on="query_id")
        .join(done, on=["query_id", "candidate_id", "sample"], how="anti")
        .select("query_id", "candidate_id", "sample", "query", "text", "reference")
        .collect()
    )


def _tag(tagger: Tagger, *, queries: pl.DataFrame, lake: Lake) -> dict[str, Any]:
    tagger_id = tagger.id_for(queries)
    described = _described(tagger, table="tagger_id").with_columns(tagger_id=pl.lit(tagger_id))
    append_new(described, lake=lake, table=TAGGERS)
    done = lake.scan(TAGS).filter(pl.col("tagger_id") == tagger_id).select("query_id").collect()
    if tagger.learns_from_corpus and done.height:
        return {"new": 0, "tags": 0}
    untagged = queries.join(done, on="query_id", how="anti")
    tags = tagger.tag(untagged.select("query_id", "task", "text"))
    rows = tags.with_columns(tagger_id=pl.lit(tagger_id)).select(TAGS.columns)
    new = append_new(rows, lake=lake, table=TAGS)
    return {"new": new, "tags": tags["tag"].n_unique()}


def _described(spec: IdentifiedSpec, *, table: str) -> pl.DataFrame:
    """The row that says what stands behind an id."""
    text = json.dumps(spec.spec(), sort_keys=True)
    return pl.DataFrame({table: [spec.spec_id], "name": [spec.name], "spec": [text]})


if __name__ == "__main__":
    main(LabelSpec, work=label)

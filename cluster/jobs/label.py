"""The label job: rewards and tags for what has none yet."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from cluster.errors import EngineError, SignalboxError
from cluster.jobs.label_openly import tag_openly
from cluster.jobs.label_report import write_reports
from cluster.jobs.label_worker import work_in_actors
from cluster.jobs.read_rewards import ANSWER, bind
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.labels import Label
from cluster.lake.candidates import newest_specs
from cluster.lake.commit import append_new, delete_missing_rewards, put_rewards
from cluster.lake.lake import Lake
from cluster.lake.tables import (
    CANDIDATES,
    COMPLETIONS,
    PREFERENCES,
    QUERIES,
    REWARDS,
    SCORERS,
    TAGGERS,
    TAGS,
)
from cluster.ray_cluster import connect
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Scorer, Usage
from cluster.spec import IdentifiedSpec
from cluster.tags.open_vocabulary import OpenTagger
from cluster.tags.tagger import Tagger

LOG = logging.getLogger("signalbox.label")
# Bounds the memory of scoring: about 200 MB at 1,000 characters an answer.
ROWS_AT_ONCE = 100_000
# With a model a part takes a while; what is done when the job is killed is kept.
ROWS_OF_A_MODEL = 1_024


class LabelSpec(JobSpec):
    """What to label.

    Attributes:
        dataset: whose completions and queries.
        scorers: the scorers to run.
        taggers: the taggers to run.
        inputs: versions of the tables the work depends on.
        retry_errors: rewards and tags that are missing for a reason are asked for again.
        reports: whether to write the pages a collection ends with.
    """

    job: ClassVar[str] = "label"

    dataset: str
    scorers: tuple[Label, ...]
    taggers: tuple[Label, ...]
    inputs: dict[str, int]
    retry_errors: bool = False
    reports: bool = False


@dataclass
class Counts:
    """What became of the answers a scorer was given.

    `reasons` counts rewards that are missing for a reason, by its first words.
    """

    new: int = 0
    scored: int = 0
    battles: int = 0
    total: float = 0.0
    usage: Usage = field(default_factory=Usage)
    reasons: Counter[str] = field(default_factory=Counter)


def label(spec: LabelSpec, run: Run) -> Manifest:
    """Score every answer and tag every query that a scorer or tagger has not seen yet.

    Raises:
        EngineError: a scorer or tagger failed; the others have run, and what succeeded is kept.
    """
    connect()
    lake = Lake.open(spec.lake)
    queries = (
        lake.scan(QUERIES, version=spec.inputs["queries"])
        .filter(pl.col("dataset") == spec.dataset)
        .collect()
    )
    rewards: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    ran: dict[str, str] = {}
    failures: list[str] = []
    for label in spec.scorers:
        with _noted(failures, what=f"scorer '{label.name}'"):
            _check_read(label, ran=ran, among=spec.scorers)
            rewards[label.name], ran[label.name] = _reward(
                label, queries=queries, ran=ran, spec=spec, lake=lake, run=run
            )
    for label in spec.taggers:
        with _noted(failures, what=f"tagger '{label.name}'"):
            tags[label.name] = _tag(label, queries=queries, spec=spec, lake=lake, run=run)
    manifest = {"outputs": [], "rewards": rewards, "tags": tags, "dataset": spec.dataset}
    if spec.reports:
        tagged = [label for label in spec.taggers if label.name in tags]
        manifest |= write_reports(lake, dataset=spec.dataset, scorers=spec.scorers, taggers=tagged)
    if failures:
        raise EngineError("; ".join(failures) + ". What succeeded is kept")
    return manifest


@contextmanager
def _noted(failures: list[str], *, what: str) -> Iterator[None]:
    """Note an error of the user's, and go on: what the others say is still worth having."""
    try:
        yield
    except SignalboxError as error:
        LOG.error("%s: %s", what, error)
        failures.append(f"{what}: {error}")


def _check_read(label: Label, *, ran: Mapping[str, str], among: Sequence[Label]) -> None:
    """Make sure that a scorer is not made from what another gave before it failed, or gave in an
    earlier run with other settings.

    Raises:
        EngineError: one that it reads, and that was to run before it, has failed.
    """
    failed = {one.name for one in among} - {label.name, *ran}
    for part in label.scorer().reads:
        if part in failed:
            raise EngineError(f"it reads the rewards of '{part}', which has failed")


def _reward(
    label: Label,
    *,
    queries: pl.DataFrame,
    ran: Mapping[str, str],
    spec: LabelSpec,
    lake: Lake,
    run: Run,
) -> tuple[dict[str, Any], str]:
    """Score what this scorer has not scored; returns counts and the mean, and the scorer's id.

    `ran`: scorer_id by name of those that have run before it.
    """
    scorer, read = label.scorer(), None
    if scorer.reads:
        scorer, read = bind(scorer, name=label.name, queries=queries, ran=ran, lake=lake)
    append_new(_described(scorer, name=label.name), lake=lake, table=SCORERS)
    if spec.retry_errors:
        delete_missing_rewards(queries, lake=lake, scorer_id=scorer.scorer_id)
    answers = _unscored(scorer, queries=queries, read=read, spec=spec, lake=lake)
    n_new = int(answers["new"].sum())
    counts = Counts()
    for part, rated in _rated(scorer, answers=answers):
        _keep(part, rated, scorer=scorer, label=label, lake=lake, counts=counts)
        run.progress(Part(f"reward {label.name}", done=counts.new, total=n_new))
    unscored = n_new - counts.scored
    if unscored:
        told = ", ".join(f"{n} {reason}" for reason, n in counts.reasons.most_common())
        LOG.warning("%s: %d answers have no reward (%s)", label.name, unscored, told or "untold")
    found = {
        "new": counts.new,
        "without_reward": unscored,
        "reasons": dict(counts.reasons),
        "mean": counts.total / counts.scored if counts.scored else None,
        "battles": counts.battles,
        **vars(counts.usage),
    }
    return found, scorer.scorer_id


def _rated(scorer: Scorer, *, answers: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Rated]]:
    """Every part of the answers with what the scorer made of it; nothing is opened for none."""
    if answers.is_empty():
        return
    rows = ROWS_OF_A_MODEL if scorer.needs_actor else ROWS_AT_ONCE
    parts = _parts(answers, rows=rows, whole_queries=scorer.whole_queries)
    if scorer.needs_actor:
        done = work_in_actors(scorer, parts=parts, placement=scorer.placement)
        yield from zip(parts, done, strict=True)
        return
    with scorer.open() as rate:
        for part in parts:
            yield part, rate(part)


def _parts(answers: pl.DataFrame, *, rows: int, whole_queries: bool) -> list[pl.DataFrame]:
    """Slices of about so many rows; with `whole_queries` all answers to one are in one slice."""
    if not whole_queries:
        return list(answers.iter_slices(rows))
    ordered = answers.sort("query_id", maintain_order=True)
    number = pl.col("query_id").rle_id()
    per_part = max(1, rows * ordered["query_id"].n_unique() // ordered.height)
    return ordered.with_columns(part=number // per_part).partition_by(
        "part", maintain_order=True, include_key=False
    )


def _keep(
    part: pl.DataFrame, rated: Rated, *, scorer: Scorer, label: Label, lake: Lake, counts: Counts
) -> None:
    """Append battles and rewards. A reward that is missing for a reason is kept with it, so that
    it is counted and not asked for again. Battles come first: a job killed in between compares
    again what has no reward, and adds no battle twice."""
    battles = rated.battles.with_columns(judge=pl.lit(label.name)).select(PREFERENCES.columns)
    added = append_new(battles, lake=lake, table=PREFERENCES) if battles.height else 0
    if added < battles.height:
        LOG.warning(
            "%s: %d battles were there already and stay as they are; a judge with other settings "
            "needs another name",
            label.name,
            battles.height - added,
        )
    counts.battles += added
    ratings = rated.ratings
    ratings = ratings.with_columns(value=finite(ratings["value"], scorer=label.name))
    own = pl.concat([part.select(*ANSWER, "new"), ratings], how="horizontal")
    own = own.with_columns(scorer_id=pl.lit(scorer.scorer_id), weight=pl.lit(1.0))
    rows = own.filter("new")
    told = rows.filter(pl.col("value").is_not_null() | pl.col("reason").is_not_null())
    revised = own.filter(~pl.col("new"), pl.col("value").is_not_null())
    if scorer.whole_queries and told.height and revised.height:
        # In one commit, for a value that holds a newcomer's pairs must not meet them again.
        put_rewards(pl.concat([told, revised]).select(REWARDS.columns), lake=lake)
        counts.new += told.height
    else:
        counts.new += append_new(told.select(REWARDS.columns), lake=lake, table=REWARDS)
    counts.scored += rows["value"].count()
    counts.total += float(rows["value"].sum())
    counts.usage += rated.usage
    missing = told.filter(pl.col("value").is_null())["reason"]
    counts.reasons += Counter(missing.str.extract(r"^(?:orders: [^;]*; )?([^:]*)").to_list())


def finite(values: pl.Series, *, scorer: str) -> pl.Series:
    """Rewards as they are, (n_answers,), null where a scorer gave NaN or infinity: that is none."""
    numbers = values.cast(pl.Float64)
    odd = int((~numbers.is_finite()).sum())
    if odd:
        LOG.warning("%s: %d rewards are NaN or infinite and count as missing", scorer, odd)
    return pl.select(value=pl.when(numbers.is_finite()).then(numbers)).to_series()


def _unscored(
    scorer: Scorer,
    *,
    queries: pl.DataFrame,
    read: pl.DataFrame | None,
    spec: LabelSpec,
    lake: Lake,
) -> pl.DataFrame:
    """The answers without a reward of this scorer; with `read`, those that others have rewarded,
    with what these say, also where the answer itself was not kept, as in an imported table."""
    done = lake.scan(REWARDS).filter(pl.col("scorer_id") == scorer.scorer_id)
    asked = queries.lazy().select(
        "query_id", "task", "reference", "messages", pl.col("text").alias("query")
    )
    answers = lake.scan(COMPLETIONS, version=spec.inputs["completions"]).filter(
        pl.col("outcome") != "error"
    )
    if read is not None:
        answers = read.lazy().join(answers, on=ANSWER, how="left")
    kept = list(RATING_SCHEMA) if scorer.whole_queries else []
    scored = done.select(*ANSWER, *kept, new=pl.lit(False))
    seen = answers.join(asked, on="query_id").join(scored, on=ANSWER, how="left")
    seen = seen.with_columns(pl.col("new").fill_null(True))
    wanted = pl.col("new").any().over("query_id") if scorer.whole_queries else pl.col("new")
    names = newest_specs(lake.scan(CANDIDATES)).select("candidate_id", candidate="name")
    named = seen.filter(wanted).join(names, on="candidate_id", how="left")
    columns = ("query", "text", "reference", "task", "messages", "outcome", "first_logprobs")
    others = [] if read is None else [name for name in read.columns if name not in ANSWER]
    candidate = pl.col("candidate").fill_null(pl.col("candidate_id"))
    return named.select(*ANSWER, candidate, *columns, *others, *kept, "new").collect()


def _tag(
    label: Label, *, queries: pl.DataFrame, spec: LabelSpec, lake: Lake, run: Run
) -> dict[str, Any]:
    tagger = label.tagger()
    if isinstance(tagger, OpenTagger):
        retry = spec.retry_errors
        return tag_openly(tagger, name=label.name, queries=queries, lake=lake, run=run, retry=retry)
    tagger_id = tagger.id_for(queries)
    described = _described(tagger, name=label.name).with_columns(tagger_id=pl.lit(tagger_id))
    append_new(described, lake=lake, table=TAGGERS)
    done = lake.scan(TAGS).filter(pl.col("tagger_id") == tagger_id).select("query_id").collect()
    if tagger.learns_from_corpus and done.height:
        return {"new": 0, "tags": 0}
    untagged = queries.join(done, on="query_id", how="anti").select("query_id", "task", "text")
    new, seen, names = 0, 0, set()
    for part, tags in _tagged(tagger, queries=untagged):
        rows = tags.with_columns(tagger_id=pl.lit(tagger_id)).select(TAGS.columns)
        new += append_new(rows, lake=lake, table=TAGS)
        names |= set(tags["tag"].unique())
        seen += part.height
        run.progress(Part(f"tags {label.name}", done=seen, total=untagged.height, unit="queries"))
    return {"new": new, "tags": len(names)}


def _tagged(
    tagger: Tagger, *, queries: pl.DataFrame
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Every part of the queries with its tags; what learns from the corpus sees it whole."""
    rows = max(1, queries.height) if tagger.learns_from_corpus else ROWS_OF_A_MODEL
    if not tagger.needs_actor:
        with tagger.open() as tag:
            yield queries, tag(queries)
    elif queries.height:
        parts = list(queries.iter_slices(rows))
        done = work_in_actors(tagger, parts=parts, placement=tagger.placement)
        yield from zip(parts, done, strict=True)


def _described(spec: IdentifiedSpec, *, name: str) -> pl.DataFrame:
    """The row that says what stands behind an id."""
    text = json.dumps(spec.spec(), sort_keys=True)
    return pl.DataFrame({f"{spec.kind}_id": [spec.spec_id], "name": [name], "spec": [text]})


if __name__ == "__main__":
    main(LabelSpec, work=label)

"""The choose job: which queries of a dataset every candidate is run on, within a budget."""

import io
import logging
from typing import ClassVar

import polars as pl

from cluster.candidate import Candidate
from cluster.choice.choose import Known, choose
from cluster.errors import InputError
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.plan import required_samples
from cluster.lake.tables import CHOICES, COMPLETIONS, QUERIES
from cluster.query import has_reference

LOG = logging.getLogger("signalbox.choose")


class ChooseSpec(JobSpec):
    """What to choose from.

    Attributes:
        dataset: whose queries.
        referenced: only those that have a reference.
        candidates: who is to answer what is chosen.
        size: queries to run.
        scorer: whose rewards say where candidates differ.
        seed: of the draw.
        inputs: versions of the tables read.
    """

    job: ClassVar[str] = "choose"

    dataset: str
    referenced: bool = False
    candidates: tuple[Candidate, ...]
    size: int
    scorer: str
    seed: int
    inputs: dict[str, int]


def choose_queries(spec: ChooseSpec, run: Run) -> Manifest:
    """Write the requests every candidate answers, and keep how likely each was to be drawn.

    What was chosen or begun before and is not done goes first: a run that was killed, or a cap that
    was reached, is finished before anything else is begun.

    Raises:
        InputError: the dataset has no query.
    """
    lake = Lake.open(spec.lake)
    queries = _queries(spec, lake=lake)
    complete, begun = _progress(spec, queries=queries, lake=lake)
    first = queries.filter(pl.col("query_id").is_in(begun.implode())).head(spec.size)
    drawn = choose(
        queries,
        asked=pl.concat([complete, begun]),
        size=spec.size - first.height,
        known=_known(spec, lake=lake),
        seed=spec.seed,
    )
    kept = drawn.with_columns(dataset=pl.lit(spec.dataset), run=pl.lit(spec.work_id))
    append_new(kept, lake=lake, table=CHOICES)
    ids = pl.concat([first["query_id"], drawn["query_id"]])
    requests = queries.filter(pl.col("query_id").is_in(ids.implode()))
    uri = run.uri("requests.parquet")
    content = io.BytesIO()
    requests.select("query_id", "text", "messages").write_parquet(content)
    lake.storage.write(uri, content.getvalue())
    return {
        "outputs": [uri],
        "requests": uri,
        "queries": queries.height,
        "complete": complete.len(),
        "begun_before": first.height,
        "new": drawn.height,
        "by_split": dict(requests["split"].value_counts().sort("split").iter_rows()),
    }


def _queries(spec: ChooseSpec, *, lake: Lake) -> pl.DataFrame:
    wanted = has_reference() if spec.referenced else pl.lit(True)
    rows = (
        lake.scan(QUERIES, version=spec.inputs[QUERIES.name])
        .filter((pl.col("dataset") == spec.dataset) & wanted)
        .select("query_id", "text", "messages", "split")
        .sort("query_id")
        .collect()
    )
    if rows.is_empty():
        raise InputError(f"dataset '{spec.dataset}' has no query to choose from")
    return rows


def _progress(
    spec: ChooseSpec, *, queries: pl.DataFrame, lake: Lake
) -> tuple[pl.Series, pl.Series]:
    """Ids of the queries that everybody has answered, and of those chosen or begun and not done."""
    answers = (
        lake.scan(COMPLETIONS, version=spec.inputs[COMPLETIONS.name])
        .select("query_id", "candidate_id", "sample")
        .join(queries.lazy().select("query_id"), on="query_id", how="semi")
        .collect()
    )
    wanted = pl.concat(
        required_samples(queries["query_id"], samples=candidate.samples).with_columns(
            candidate_id=pl.lit(candidate.candidate_id)
        )
        for candidate in spec.candidates
    )
    key = ["query_id", "candidate_id", "sample"]
    missing = wanted.join(answers, on=key, how="anti")["query_id"].unique()
    there = wanted.join(answers, on=key, how="semi")["query_id"].unique()
    chosen = lake.scan(CHOICES, version=spec.inputs[CHOICES.name]).select("query_id").collect()
    ids = pl.col("query_id")
    complete = queries.filter(~ids.is_in(missing.implode()))["query_id"]
    started = ids.is_in(there.implode()) | ids.is_in(chosen["query_id"].implode())
    return complete, queries.filter(ids.is_in(missing.implode()) & started)["query_id"]


def _known(spec: ChooseSpec, *, lake: Lake) -> Known | None:
    """The rewards there are, or None."""
    try:
        outcomes = read_outcomes(
            lake, dataset=spec.dataset, scorer=spec.scorer, versions=spec.inputs
        )
    except InputError:
        LOG.info("no rewards of '%s' yet: the choice goes by coverage alone", spec.scorer)
        return None
    return Known.of(outcomes)


if __name__ == "__main__":
    main(ChooseSpec, work=choose_queries)

"""The admit job: a night's new labels, batch by batch, against what was expected of them."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.gate.admitted import note_admission, note_night
from cluster.gate.batch import Labels, admit
from cluster.gate.expectation import by_router, by_task, columns_of
from cluster.gate.frozen import read_snapshot
from cluster.gate.rules import AdmissionRules
from cluster.gate.snapshot import load_snapshot
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.old_versions import is_readable
from cluster.lake.outcomes import LEARNED, read_outcomes, scorers_of
from cluster.lake.tables import KEPT_OUT, QUERIES, REWARDS
from cluster.normalisation import Normalisation
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.checkpoint import load_checkpoint

Expect = Callable[[OutcomeMatrix], FloatMatrix]
LABEL = ["query_id", "candidate_id", "sample"]
LOG = logging.getLogger("signalbox.admit")


class AdmitSpec(JobSpec):
    """Which labels to look at.

    Attributes:
        night: names the batches, with the source of their queries.
        dataset, scorer, normalisation, temperature: whose labels.
        snapshot: name of the frozen snapshot whose labels say how well labels usually agree.
        champion: version and checkpoint of the router whose predictions are what is expected;
            None: the mean of the query's task and candidate in earlier labels, and where there are
            none that are trusted, in the snapshot's.
        before: version of the rewards that have been looked at: what is there at `inputs` and was
            not at this one is new. Where the lake has it no longer, nothing says what was looked
            at, and all is looked at again but what was refused once.
        inputs: versions of the tables read.
        rules: what is promised.
    """

    job: ClassVar[str] = "admit"

    night: str
    dataset: str
    scorer: str
    normalisation: Normalisation = "none"
    temperature: float = 1.0
    snapshot: str
    champion: tuple[str, str] | None
    before: int
    inputs: dict[str, int]
    rules: AdmissionRules = AdmissionRules()


def admit_night(spec: AdmitSpec, run: Run) -> Manifest:
    """Look at every batch; the manifest's `admissions` are `Admission.as_json` of each.

    A batch is what came of the queries of one source. It is looked at once: of a night that is
    looked at again, what was found before stands.

    Raises:
        InputError: no such dataset, scorer or snapshot, or a damaged checkpoint.
    """
    lake = Lake.open(spec.lake)
    scorer_id = scorers_of(lake, dataset=spec.dataset, scorer=spec.scorer)[0][0]
    outcomes = _outcomes(spec, lake=lake)
    then = _looked_at(spec, lake=lake)
    new = _new_cells(spec, outcomes=outcomes, scorer_id=scorer_id, then=then, lake=lake)
    fresh = replace(outcomes, reward=np.where(new, outcomes.reward, np.nan))
    sources = _sources(fresh, lake=lake)
    names = sorted(set(sources[new.any(axis=1)].tolist()))
    earlier = replace(outcomes, reward=np.where(new, np.nan, outcomes.reward))
    expect = _expectation(spec, earlier=earlier if then is not None else None, lake=lake)
    usual = _usual(spec, expect=expect, like=outcomes, lake=lake) if names else None
    found = []
    for place, name in enumerate(names):
        assert usual is not None
        run.progress(Part("batches", place, len(names), unit="batches", note=name), now=True)
        batch = fresh.take(sources == name)
        known = batch.take(np.isin(batch.tasks, usual[1]))
        verdict = admit(
            f"{spec.night} {name}",
            batch=Labels(batch.candidates, known.reward, expect(known)),
            usual=usual[0],
            rules=spec.rules,
            batches=len(names),
        )
        noted = note_admission(
            replace(verdict, labels=int(batch.mask.sum())),
            lake=lake,
            dataset=spec.dataset,
            scorer_id=scorer_id,
            labels=_cells(batch, candidates=verdict.refused),
        )
        found.append(noted)
    seen = spec.inputs[REWARDS.name]
    note_night(lake, night=spec.night, dataset=spec.dataset, scorer_id=scorer_id, rewards=seen)
    return {
        "outputs": [],
        "admissions": [one.as_json() for one in found],
        "table": [one.row() for one in found],
    }


def _outcomes(spec: AdmitSpec, *, lake: Lake) -> OutcomeMatrix:
    """All that is there, what was refused included: a batch looked at again must be all there."""
    return read_outcomes(
        lake,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        temperature=spec.temperature,
        versions=spec.inputs,
        refused=True,
    )


def _new_cells(
    spec: AdmitSpec,
    *,
    outcomes: OutcomeMatrix,
    scorer_id: str,
    then: pl.LazyFrame | None,
    lake: Lake,
) -> npt.NDArray[np.bool_]:
    """(n_queries, n_candidates): where a label came since `then`; where that is forgotten, all
    labels but those that were refused once, which stay so or were released by somebody."""
    own = pl.col("scorer_id") == scorer_id
    now = lake.scan(REWARDS, version=spec.inputs[REWARDS.name]).filter(own).select(LABEL)
    key = LABEL
    if then is None:
        ours = pl.col("batch").str.starts_with(f"{spec.night} ")
        then, key = lake.scan(KEPT_OUT).filter(~ours), ["query_id", "candidate_id"]
    rows = outcomes.queries.select("query_id").with_row_index("row")
    columns = pl.DataFrame({"candidate_id": outcomes.candidate_ids}).with_row_index("column")
    cells = (
        now.join(then.filter(own).select(key), on=key, how="anti")
        .collect()
        .join(rows, on="query_id")
        .join(columns, on="candidate_id")
    )
    new = np.zeros(outcomes.reward.shape, dtype=np.bool_)
    new[cells["row"].to_numpy(), cells["column"].to_numpy()] = True
    return new & outcomes.mask


def _looked_at(spec: AdmitSpec, *, lake: Lake) -> pl.LazyFrame | None:
    """The rewards that the nights before have looked at; None where the lake has forgotten."""
    if is_readable(lake, table=REWARDS, version=spec.before):
        return lake.scan(REWARDS, version=spec.before)
    LOG.warning(
        "version %d of the rewards, up to which all labels were looked at, is in the lake no "
        "longer: all labels of '%s' are looked at again",
        spec.before,
        spec.dataset,
    )
    return None


def _sources(fresh: OutcomeMatrix, *, lake: Lake) -> npt.NDArray[np.str_]:
    """(n_queries,): where each query with a new label came from; `labels` where nobody said."""
    ids = fresh.queries.select("query_id")
    has_new = pl.Series(np.asarray(fresh.mask.any(axis=1)))
    told = (
        lake.scan(QUERIES)
        .select("query_id", "source")
        .join(ids.filter(has_new).lazy(), on="query_id", how="semi")
        .collect()
    )
    named = ids.join(told, on="query_id", how="left", maintain_order="left")
    return named["source"].fill_null("").replace("", "labels").to_numpy().astype(str)


def _expectation(spec: AdmitSpec, *, earlier: OutcomeMatrix | None, lake: Lake) -> Expect:
    """What is expected of rows; without earlier labels that are trusted, of the snapshot's."""
    if spec.champion is None:
        if earlier is None:
            learned = read_snapshot(lake, snapshot=load_snapshot(lake, name=spec.snapshot))
        else:
            learned = earlier.on_splits(LEARNED)
        return lambda rows: by_task(learned, outcomes=rows)
    version, uri = spec.champion
    checkpoint = load_checkpoint(uri, version=version)
    ids = checkpoint.meta.candidate_ids
    return lambda rows: by_router(checkpoint.router, ids=ids, outcomes=rows)


def _usual(
    spec: AdmitSpec, *, expect: Expect, like: OutcomeMatrix, lake: Lake
) -> tuple[Labels, npt.NDArray[np.str_]]:
    """The snapshot's labels, with the candidates of the outcomes, and the tasks that it has."""
    frozen = read_snapshot(lake, snapshot=load_snapshot(lake, name=spec.snapshot))

    def placed(values: FloatMatrix) -> FloatMatrix:
        return columns_of(values, ids=frozen.candidate_ids, wanted=like.candidate_ids)

    labels = Labels(like.candidates, placed(frozen.reward), placed(expect(frozen)))
    return labels, np.unique(frozen.tasks)


def _cells(batch: OutcomeMatrix, *, candidates: tuple[str, ...]) -> pl.DataFrame:
    """`query_id`, `candidate_id` of a batch's labels of these candidates."""
    columns = [batch.candidates.index(name) for name in candidates]
    parts = [
        batch.queries.select("query_id")
        .filter(pl.Series(batch.mask[:, column]))
        .with_columns(candidate_id=pl.lit(batch.candidate_ids[column]))
        for column in columns
    ]
    empty = pl.DataFrame(schema={"query_id": pl.String, "candidate_id": pl.String})
    return pl.concat([empty, *parts])


if __name__ == "__main__":
    main(AdmitSpec, work=admit_night)

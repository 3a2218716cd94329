"""The admit job: a night's new labels, batch by batch, against what was expected of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.gate.admission import Admission
from cluster.gate.admitted import note_admission, note_night
from cluster.gate.batch import Labels, admit
from cluster.gate.expectation import by_router, by_task, columns_of
from cluster.gate.frozen import read_snapshot
from cluster.gate.rules import AdmissionRules
from cluster.gate.snapshot import load_snapshot
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import LEARNED, read_outcomes, scorers_of
from cluster.lake.tables import QUERIES, REWARDS
from cluster.normalisation import Normalisation
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.checkpoint import load_checkpoint

Expect = Callable[[OutcomeMatrix], FloatMatrix]
LABEL = ["query_id", "candidate_id", "sample"]


class AdmitSpec(JobSpec):
    """Which labels to look at.

    Attributes:
        night: names the batches, with the source of their queries.
        dataset, scorer, normalisation, temperature: whose labels.
        snapshot: name of the frozen snapshot whose labels say how well labels usually agree.
        champion: version and checkpoint of the router whose predictions are what is expected;
            None: the mean of the query's task and candidate in earlier labels.
        before: version of the rewards that have been looked at: what is there at `inputs` and was
            not at this one is new.
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
    new = _new_cells(spec, outcomes=outcomes, scorer_id=scorer_id, lake=lake)
    sources = _sources(outcomes, new=new, lake=lake)
    names = sorted(set(sources[new.any(axis=1)].tolist()))
    expect = _expectation(spec, outcomes=outcomes, new=new)
    found = []
    for place, name in enumerate(names):
        run.progress(Part("batches", place, len(names), unit="batches", note=name), now=True)
        own = outcomes.take(sources == name)
        batch = replace(own, reward=np.where(new[sources == name], own.reward, np.nan))
        verdict = _looked_at(
            f"{spec.night} {name}", batch=batch, expect=expect, batches=len(names), spec=spec
        )
        found.append(
            note_admission(
                verdict,
                lake=lake,
                dataset=spec.dataset,
                scorer_id=scorer_id,
                labels=_cells(batch, candidates=verdict.refused),
            )
        )
    version = spec.inputs[REWARDS.name]
    note_night(lake, night=spec.night, dataset=spec.dataset, scorer_id=scorer_id, rewards=version)
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
    spec: AdmitSpec, *, outcomes: OutcomeMatrix, scorer_id: str, lake: Lake
) -> npt.NDArray[np.bool_]:
    """(n_queries, n_candidates): where a label came since `before`."""
    now, then = (
        lake.scan(REWARDS, version=version).filter(pl.col("scorer_id") == scorer_id).select(LABEL)
        for version in (spec.inputs[REWARDS.name], spec.before)
    )
    rows = outcomes.queries.select("query_id").with_row_index("row")
    columns = pl.DataFrame({"candidate_id": outcomes.candidate_ids}).with_row_index("column")
    cells = (
        now.join(then, on=LABEL, how="anti")
        .collect()
        .join(rows, on="query_id")
        .join(columns, on="candidate_id")
    )
    new = np.zeros(outcomes.reward.shape, dtype=np.bool_)
    new[cells["row"].to_numpy(), cells["column"].to_numpy()] = True
    return new & outcomes.mask


def _sources(
    outcomes: OutcomeMatrix, *, new: npt.NDArray[np.bool_], lake: Lake
) -> npt.NDArray[np.str_]:
    """(n_queries,): where each query came from, as its file's name."""
    has_new = pl.Series(np.asarray(new.any(axis=1)))
    ids = outcomes.queries.select("query_id").filter(has_new)
    told = (
        lake.scan(QUERIES)
        .select("query_id", "source")
        .join(ids.lazy(), on="query_id", how="semi")
        .collect()
    )
    named = outcomes.queries.select("query_id").join(
        told, on="query_id", how="left", maintain_order="left"
    )
    return named["source"].fill_null("").replace("", "labels").to_numpy().astype(str)


def _expectation(spec: AdmitSpec, *, outcomes: OutcomeMatrix, new: npt.NDArray[np.bool_]) -> Expect:
    """What is expected of rows."""
    if spec.champion is None:
        earlier = replace(outcomes, reward=np.where(new, np.nan, outcomes.reward))
        learned = earlier.on_splits(LEARNED)
        return lambda rows: by_task(learned, outcomes=rows)
    version, uri = spec.champion
    checkpoint = load_checkpoint(uri, version=version)
    ids = checkpoint.meta.candidate_ids
    return lambda rows: by_router(checkpoint.router, ids=ids, outcomes=rows)


def _looked_at(
    name: str, *, batch: OutcomeMatrix, expect: Expect, batches: int, spec: AdmitSpec
) -> Admission:
    """A batch against the snapshot, on the tasks that this has."""
    lake = Lake.open(spec.lake)
    frozen = read_snapshot(lake, snapshot=load_snapshot(lake, name=spec.snapshot))
    usual = Labels(
        batch.candidates,
        columns_of(frozen.reward, ids=frozen.candidate_ids, wanted=batch.candidate_ids),
        columns_of(expect(frozen), ids=frozen.candidate_ids, wanted=batch.candidate_ids),
    )
    known = batch.take(np.isin(batch.tasks, frozen.tasks))
    labels = Labels(batch.candidates, known.reward, expect(known))
    found = admit(name, batch=labels, usual=usual, rules=spec.rules, batches=batches)
    return replace(found, labels=int(batch.mask.sum()))


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

"""The admit job: a night's new labels, batch by batch, against what was expected of them.

A batch is what came of the queries of one source, in two parts: queries of tasks that something is
known about, and of tasks that nothing is. A champion predicts the second too; without one nothing
is expected of them, so they are kept out until somebody releases them: poison would only need a
task of its own name to be learned from.

Batches with too few labels to tell are learned from, and judged together with those of the nights
before as one more batch, until they are enough to tell; otherwise poison in small files would never
be looked at. What is refused then is not learned from any more.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.gate.admission import Admission
from cluster.gate.admitted import SMALL, note_admission, note_night, still_small
from cluster.gate.agreement import FEWEST
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
# Queries of small batches that are kept in mind; more of them would have told something long ago.
MOST_SMALL = 2000
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

    A batch is looked at once: of a night that is looked at again, what was found before stands.

    Raises:
        InputError: no such dataset, scorer or snapshot, or a damaged checkpoint.
    """
    lake = Lake.open(spec.lake)
    scorer_id = scorers_of(lake, dataset=spec.dataset, scorer=spec.scorer)[0][0]
    outcomes = _outcomes(spec, lake=lake)
    then = _looked_at(spec, lake=lake)
    new = _new_cells(spec, outcomes=outcomes, scorer_id=scorer_id, then=then, lake=lake)
    fresh = replace(outcomes, reward=np.where(new, outcomes.reward, np.nan))
    found = []
    if new.any():
        judge = _judge(spec, outcomes=outcomes, new=new, then=then, lake=lake)
        parts = _parts(fresh, known=judge.tasks, lake=lake)
        pool = f"{spec.night} {SMALL}"
        for place, (name, batch) in enumerate(parts.items()):
            run.progress(Part("batches", place, len(parts), unit="batches", note=name), now=True)
            verdict = judge.judged(f"{spec.night} {name}", batch=batch, batches=len(parts) + 1)
            found.append(_noted(verdict, spec=spec, batch=batch, scorer_id=scorer_id, lake=lake))
        small = _small(found, spec=spec, scorer_id=scorer_id, lake=lake)
        if small:
            batch = _pooled(small, fresh=fresh, outcomes=outcomes)
            verdict = judge.judged(pool, batch=batch, batches=len(parts) + 1)
            found.append(_noted(verdict, spec=spec, batch=batch, scorer_id=scorer_id, lake=lake))
    seen = spec.inputs[REWARDS.name]
    note_night(lake, night=spec.night, dataset=spec.dataset, scorer_id=scorer_id, rewards=seen)
    return {
        "outputs": [],
        "admissions": [one.as_json() for one in found],
        "table": [one.row() for one in found],
    }


@dataclass(frozen=True)
class _Judge:
    """What batches are judged by.

    Attributes:
        expect: what is expected of rows.
        usual: the snapshot's labels.
        tasks: those that something is known about.
        blind: whether nothing is expected of other tasks.
        rules: what is promised.
    """

    expect: Expect
    usual: Labels
    tasks: npt.NDArray[np.str_]
    blind: bool
    rules: AdmissionRules

    def judged(self, name: str, *, batch: OutcomeMatrix, batches: int) -> Admission:
        """What becomes of a batch, whose queries all are of known tasks, or none."""
        is_new = not np.isin(batch.tasks, self.tasks).all()
        n_labels = int(batch.mask.sum())
        if is_new and self.blind:
            return Admission(name, "refused", _held(batch), n_labels, batch.candidates)
        labels = Labels(batch.candidates, batch.reward, self.expect(batch))
        found = admit(name, batch=labels, usual=self.usual, rules=self.rules, batches=batches)
        if is_new and found.refused:
            why = f"{found.why}; {_new_words(batch)}, and if they are right, release them"
            found = replace(found, why=why)
        if found.verdict == "too few to tell":
            found = replace(found, small=tuple(batch.queries["query_id"].to_list()[-MOST_SMALL:]))
        return replace(found, labels=n_labels)


def _held(batch: OutcomeMatrix) -> str:
    return (
        f"{_new_words(batch)}, and there is no champion to expect anything of them: they are kept "
        "out until 'signalbox labels release' says that they are right"
    )


def _new_words(batch: OutcomeMatrix) -> str:
    names = np.unique(batch.tasks).tolist()
    shown = ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")
    return f"queries are of tasks that too little is known about ({shown})"


def _judge(
    spec: AdmitSpec,
    *,
    outcomes: OutcomeMatrix,
    new: npt.NDArray[np.bool_],
    then: pl.LazyFrame | None,
    lake: Lake,
) -> _Judge:
    """Where it is forgotten what was looked at, only the snapshot's labels are trusted."""
    frozen = read_snapshot(lake, snapshot=load_snapshot(lake, name=spec.snapshot))
    earlier = None
    if spec.champion is None:
        own = then is not None
        earlier = _earlier(spec, outcomes=outcomes, new=new, lake=lake) if own else frozen
    tasks = np.unique(frozen.tasks)
    if earlier is not None:
        names, counts = np.unique(earlier.tasks, return_counts=True)
        tasks = np.union1d(tasks, names[counts >= FEWEST])
    expect = _expectation(spec, earlier=earlier)
    usual = _usual(frozen, expect=expect, like=outcomes)
    return _Judge(expect, usual, tasks, blind=earlier is not None, rules=spec.rules)


def _parts(
    fresh: OutcomeMatrix, *, known: npt.NDArray[np.str_], lake: Lake
) -> dict[str, OutcomeMatrix]:
    """By name, the rows with a new label of each source: of known tasks, and of others."""
    has_new = np.asarray(fresh.mask.any(axis=1))
    sources, is_known = _sources(fresh, lake=lake), np.isin(fresh.tasks, known)
    parts = {}
    for source in sorted(set(sources[has_new].tolist())):
        own = has_new & (sources == source)
        for name, rows in ((source, own & is_known), (f"{source}, new tasks", own & ~is_known)):
            if rows.any():
                parts[name] = fresh.take(rows)
    return parts


def _small(
    found: Sequence[Admission], *, spec: AdmitSpec, scorer_id: str, lake: Lake
) -> tuple[str, ...]:
    """query_ids of tonight's small batches with those that wait; none where tonight has none."""
    tonight = [key for one in found for key in one.small]
    if not tonight:
        return ()
    waiting = still_small(lake, dataset=spec.dataset, scorer_id=scorer_id, night=spec.night)
    return tuple(dict.fromkeys([*waiting, *tonight]))


def _pooled(
    small: Sequence[str], *, fresh: OutcomeMatrix, outcomes: OutcomeMatrix
) -> OutcomeMatrix:
    """These queries' rows: of tonight's the new labels, of the others all."""
    reward = np.where(fresh.mask.any(axis=1, keepdims=True), fresh.reward, outcomes.reward)
    rows = outcomes.queries["query_id"].is_in(list(small)).to_numpy()
    return replace(outcomes, reward=reward).take(rows)


def _noted(
    verdict: Admission, *, spec: AdmitSpec, batch: OutcomeMatrix, scorer_id: str, lake: Lake
) -> Admission:
    return note_admission(
        verdict,
        lake=lake,
        dataset=spec.dataset,
        scorer_id=scorer_id,
        labels=_cells(batch, candidates=verdict.refused),
    )


def _outcomes(spec: AdmitSpec, *, lake: Lake, refused: bool = True) -> OutcomeMatrix:
    """All that is there, what was refused included: a batch looked at again must be all there."""
    return read_outcomes(
        lake,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        temperature=spec.temperature,
        versions=spec.inputs,
        refused=refused,
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


def _earlier(
    spec: AdmitSpec, *, outcomes: OutcomeMatrix, new: npt.NDArray[np.bool_], lake: Lake
) -> OutcomeMatrix:
    """Labels that were there before and were not refused, of rows that are learned from."""
    kept = _outcomes(spec, lake=lake, refused=False)
    place = {key: row for row, key in enumerate(outcomes.queries["query_id"])}
    rows = [place[key] for key in kept.queries["query_id"]]
    columns = [outcomes.candidate_ids.index(key) for key in kept.candidate_ids]
    is_new = new[np.ix_(rows, columns)]
    earlier = replace(kept, reward=np.where(is_new, np.nan, kept.reward)).on_splits(LEARNED)
    return earlier.take(np.asarray(earlier.mask.any(axis=1)))


def _expectation(spec: AdmitSpec, *, earlier: OutcomeMatrix | None) -> Expect:
    """What is expected of rows."""
    if earlier is not None:
        return lambda rows: by_task(earlier, outcomes=rows)
    assert spec.champion is not None
    version, uri = spec.champion
    checkpoint = load_checkpoint(uri, version=version)
    ids = checkpoint.meta.candidate_ids
    return lambda rows: by_router(checkpoint.router, ids=ids, outcomes=rows)


def _usual(frozen: OutcomeMatrix, *, expect: Expect, like: OutcomeMatrix) -> Labels:
    """The snapshot's labels, with the candidates of the outcomes."""

    def placed(values: FloatMatrix) -> FloatMatrix:
        return columns_of(values, ids=frozen.candidate_ids, wanted=like.candidate_ids)

    return Labels(like.candidates, placed(frozen.reward), placed(expect(frozen)))


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

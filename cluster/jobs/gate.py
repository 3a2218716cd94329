"""The gate job: a version against all that could run instead, on a frozen snapshot."""

import logging
from dataclasses import asdict
from typing import ClassVar

import numpy as np

from cluster.errors import NotComparableError
from cluster.evaluation.baselines import one_hot
from cluster.evaluation.folds import predict
from cluster.evaluation.metrics import TestSet
from cluster.gate.compare import VERSION, Contest, compare
from cluster.gate.decision import ANCHOR, CHAMPION, decide
from cluster.gate.frozen import read_snapshot
from cluster.gate.rare import is_bearable
from cluster.gate.scale import check_unit
from cluster.gate.snapshot import FEWEST, Snapshot, load_snapshot
from cluster.jobs.registered import without_seen
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import LEARNED, read_outcomes
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.policies import load_policy
from cluster.price import Price, outcome_cost
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.means import macro_means
from cluster.routers.router import Router

LOG = logging.getLogger("signalbox.gate")


class GateSpec(JobSpec):
    """What to compare, and how surely.

    Attributes:
        snapshot: name of the frozen test snapshot.
        version, checkpoint: of the router that wants to be champion.
        champion: version and checkpoint of the one there is, or None.
        anchor: version and checkpoint of the last champion that was better than all it was held
            against (`cluster.gate.anchor`), where that is another than the champion; else None.
        level: one-sided error rate of every bound.
        margin: how much worse than the champion a cheaper version may be.
        prices: by candidate's name; empty: imported costs, if any.
        inputs: versions of the tables read: what best single and the mix are chosen by.
        gone: ids of candidates that nobody can ask any more. What could run instead is a champion
            that chooses among the others; the version chooses none of them.
    """

    job: ClassVar[str] = "gate"

    snapshot: str
    version: str
    checkpoint: str
    champion: tuple[str, str] | None
    anchor: tuple[str, str] | None = None
    level: float
    margin: float
    prices: dict[str, Price]
    inputs: dict[str, int]
    gone: tuple[str, ...] = ()

    @property
    def routers(self) -> dict[str, tuple[str, str]]:
        """Role → version and checkpoint."""
        named = {CHAMPION: self.champion, ANCHOR: self.anchor}
        others = {role: router for role, router in named.items() if router is not None}
        return {VERSION: (self.version, self.checkpoint), **others}


def gate(spec: GateSpec, run: Run) -> Manifest:
    """Compare, and decide; the manifest's `how` is empty where the version stays challenger.

    Rows that nearly repeat what one of the routers was fitted on are left out for all, and so are
    those of tasks that have too few rows left.

    Raises:
        InputError: no such snapshot, or a damaged checkpoint.
        LakeError: the snapshot is not what was frozen.
    """
    lake = Lake.open(spec.lake)
    snapshot = load_snapshot(lake, name=spec.snapshot)
    run.progress(Part("routers", 0, len(spec.routers), unit="routers"), now=True)
    checkpoints = {
        role: load_checkpoint(uri, version=version) for role, (version, uri) in spec.routers.items()
    }
    checkpoints = {
        role: checkpoint
        for role, checkpoint in checkpoints.items()
        if role == VERSION or not set(checkpoint.meta.candidate_ids) <= set(spec.gone)
    }
    try:
        outcomes = _outcomes(checkpoints, spec=spec, snapshot=snapshot, lake=lake)
    except NotComparableError as error:
        return _manifest(how="", why=f"nothing could be compared: {error}", snapshot=snapshot)
    contest = _contest(checkpoints, spec=spec, outcomes=outcomes, snapshot=snapshot, lake=lake)
    run.progress(Part("routers", len(spec.routers), len(spec.routers), unit="routers"), now=True)
    comparisons = compare(contest, level=spec.level)
    champion = spec.champion[0] if spec.champion and CHAMPION in checkpoints else None
    how, why = decide(comparisons, margin=spec.margin, champion=champion)
    why += _without(checkpoints, spec=spec)
    LOG.info("%s: %s", spec.version[:12], why)
    return _manifest(how=how, why=why, snapshot=snapshot) | {
        "comparisons": [asdict(one) for one in comparisons],
        "rows": len(outcomes),
        "left_out": snapshot.rows - len(outcomes),
    }


def _without(checkpoints: dict[str, Checkpoint], *, spec: GateSpec) -> str:
    """In words, what was left out of the champion's choices."""
    if spec.champion is None or not spec.gone:
        return ""
    if CHAMPION not in checkpoints:
        return " that could run, as all of its candidates are gone"
    meta, names = checkpoints[CHAMPION].meta, checkpoints[CHAMPION].router.candidates
    named = zip(names, meta.candidate_ids, strict=True)
    gone = [name for name, key in named if key in spec.gone]
    return f"; the champion was measured without {', '.join(gone)}, gone by now" if gone else ""


def _manifest(*, how: str, why: str, snapshot: Snapshot) -> Manifest:
    return {
        "outputs": [],
        "how": how,
        "why": why,
        "comparisons": [],
        "snapshot": snapshot.name,
        "digest": snapshot.digest,
        "rows": 0,
        "left_out": snapshot.rows,
    }


def _outcomes(
    checkpoints: dict[str, Checkpoint], *, spec: GateSpec, snapshot: Snapshot, lake: Lake
) -> OutcomeMatrix:
    """The snapshot's rows that every router can be measured on, with all candidates' rewards.

    A name stands for the candidate that the version was trained with: where a champion was trained
    with an earlier revision, it is the later one that answers what it sends there.

    Raises:
        NotComparableError: a candidate has no outcomes there, rewards have no known range, or too
            few rows are left.
    """
    ids: dict[str, str] = {}
    for checkpoint in checkpoints.values():
        named = zip(checkpoint.router.candidates, checkpoint.meta.candidate_ids, strict=True)
        ids |= {name: key for name, key in named if name not in ids}
    wanted = {key: name for name, key in sorted(ids.items())}
    complete = read_snapshot(lake, snapshot=snapshot, candidates=wanted).complete()
    check_unit(complete.reward, measure=snapshot.measure, lake=lake)
    if len(complete) < FEWEST:
        raise NotComparableError(
            f"{len(complete)} queries of snapshot '{snapshot.name}' have a reward of every "
            f"candidate, expected {FEWEST} or more; collect what is missing and freeze another one "
            "with 'signalbox snapshot create'"
        )
    rows, _ = without_seen(complete, routers=spec.routers, lake=lake)
    rows = rows.take(is_bearable(rows.tasks))
    if len(rows) < FEWEST:
        raise NotComparableError(
            f"{len(rows)} queries of snapshot '{snapshot.name}' are not nearly repeated by what "
            f"the routers were fitted on, of tasks with enough, expected {FEWEST} or "
            "more; freeze another one with 'signalbox snapshot create', and train on what does not "
            "repeat it"
        )
    return rows


def _contest(
    checkpoints: dict[str, Checkpoint],
    *,
    spec: GateSpec,
    outcomes: OutcomeMatrix,
    snapshot: Snapshot,
    lake: Lake,
) -> Contest:
    own = checkpoints[VERSION].router.candidates
    means = _train_means(spec, snapshot=snapshot, lake=lake)
    reward = [means.get(name, np.nan) if name in own else np.nan for name in outcomes.candidates]
    return Contest(
        test=TestSet(
            outcomes.candidates,
            outcomes.tasks,
            outcomes.reward,
            outcome_cost(outcomes, prices=spec.prices),
        ),
        routes={
            role: _route(checkpoint.router, outcomes=outcomes, gone=spec.gone)
            for role, checkpoint in checkpoints.items()
        },
        train_reward=np.array(reward),
    )


def _route(router: Router, *, outcomes: OutcomeMatrix, gone: tuple[str, ...]) -> FloatMatrix:
    """(n_queries, n_candidates): one-hot, the highest expected reward of those who are there."""
    prediction = predict(router, outcomes=outcomes)
    here = np.array([key not in gone for key in outcomes.candidate_ids])
    allowed = np.broadcast_to(here, prediction.reward.shape)
    chosen = load_policy("best").choose(prediction, texts=outcomes.texts, allowed=allowed)
    return one_hot(chosen, n_candidates=len(outcomes.candidates))


def _train_means(spec: GateSpec, *, snapshot: Snapshot, lake: Lake) -> dict[str, float]:
    """By candidate, macro mean reward on train and validation; empty where there are no such."""
    learned = read_outcomes(lake, **vars(snapshot.measure), versions=spec.inputs).on_splits(LEARNED)
    if not len(learned):
        return {}
    means = macro_means(learned.reward, learned.tasks).tolist()
    return dict(zip(learned.candidates, means, strict=True))


if __name__ == "__main__":
    main(GateSpec, work=gate)

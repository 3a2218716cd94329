"""The gate and the admission of labels as steps of a flow."""

from collections.abc import Callable
from typing import Any

from cluster import registry
from cluster.gate.admission import Admission
from cluster.gate.admitted import looked_at
from cluster.gate.anchor import anchor
from cluster.gate.decision import Comparison, Decision
from cluster.gate.rules import AdmissionRules, GateRules
from cluster.gate.snapshot import Measure, load_snapshot
from cluster.gate.spending import Look, decision_on, note_decision, take_look
from cluster.jobs.admit import AdmitSpec
from cluster.jobs.gate import GateSpec
from cluster.jobs.run import Manifest
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, scorers_of
from cluster.price import Prices
from cluster.query import digest
from tasks.artifacts import table_artifact
from tasks.jobs import ray_job

# Runs a job and returns its manifest.
RunJob = Callable[[JobSpec], Manifest]


def gate(
    version: str,
    *,
    snapshot: str,
    lake: Lake,
    prices: Prices,
    address: str,
    rules: GateRules | None = None,
    gone: tuple[str, ...] = (),
) -> Decision:
    """Make a registered version champion if it passes the gate; the decision, promoted or not.

    One look at the snapshot is spent, whatever comes out; none where the same comparison was made
    before. When another run promotes meanwhile, the version is compared with the new champion,
    which is another look. A version that was rolled back is not brought back, and costs no look:
    whoever took it off knew more than the snapshot says.

    Args:
        version: of a registered router.
        snapshot: name of a frozen snapshot (`cluster.gate.snapshot`).
        lake: where all of it is.
        prices: by candidate's name.
        address: of Ray's dashboard, where the comparison runs as a job.
        rules: what is promised; None: the defaults.
        gone: ids of candidates that nobody can ask any more; champions are measured without them.

    Raises:
        InputError: no such version or snapshot.
    """
    return decide_and_promote(
        version,
        snapshot=snapshot,
        lake=lake,
        prices=prices,
        rules=rules or GateRules(),
        run_job=lambda spec: ray_job(spec, address=address),
        gone=gone,
    )


def shown_comparisons(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a decision's table as a person reads them: `against`, `gain`, `interval`, `n`."""
    return [
        {
            "against": row["against"],
            "gain": f"{row['gain']:+.4g}",
            "interval": f"[{row['low']:+.4g}, {row['high']:+.4g}]",
            "queries": row["n"],
        }
        for row in rows
    ]


def decide_and_promote(
    version: str,
    *,
    snapshot: str,
    lake: Lake,
    prices: Prices,
    rules: GateRules,
    run_job: RunJob,
    gone: tuple[str, ...] = (),
) -> Decision:
    """As `gate`, with the job run by whatever is given, and nothing shown."""
    load_snapshot(lake, name=snapshot)
    checkpoint = registry.resolve(lake, version=version)["checkpoint"]
    inputs = lake.versions(INPUTS)

    def judged(champion: str | None) -> Decision:
        # Read anew each time: a rollback meanwhile is a conflict, after which this is asked again.
        off = registry.taken_off(lake, version=version)
        if off is not None:
            return Decision(promote=False, why=_taken_off(version, why=off), snapshot=snapshot)
        spec = GateSpec(
            lake=lake.storage.uri,
            snapshot=snapshot,
            version=version,
            checkpoint=checkpoint,
            champion=_router(lake, version=champion),
            anchor=_router(lake, version=_anchor(lake, champion=champion)),
            level=0.0,
            margin=rules.margin,
            prices=dict(prices),
            inputs=inputs,
            gone=gone,
        )
        return _look(spec, lake=lake, rules=rules, run_job=run_job)

    return registry.promote(lake, version=version, decide=judged)


def _look(spec: GateSpec, *, lake: Lake, rules: GateRules, run_job: RunJob) -> Decision:
    """Spend a look on a comparison, make it, and keep what it came to."""
    champion = spec.champion[0] if spec.champion else ""
    # Left out where nobody is gone: such comparisons keep the digest they had before there was it.
    volatile = {"lake", "inputs"} if spec.gone else {"lake", "inputs", "gone"}
    look = take_look(
        lake,
        snapshot=spec.snapshot,
        comparison=digest([spec.model_dump_json(exclude=volatile)]),
        version=spec.version,
        champion=champion,
        rules=rules,
    )
    if not look.level:
        return Decision(promote=False, why=_used_up(look, rules=rules), snapshot=spec.snapshot)
    found = run_job(spec.model_copy(update={"level": look.level}))
    decision = Decision(
        promote=bool(found["how"]),
        why=found["why"],
        how=found["how"],
        comparisons=tuple(Comparison(**one) for one in found["comparisons"]),
        snapshot=spec.snapshot,
        look=look.number,
        level=look.level,
    )
    note_decision(lake, look=look, version=spec.version, decision=decision)
    return decision


def _taken_off(version: str, *, why: str) -> str:
    return (
        f"it was champion and was rolled back ({why}), so the gate does not bring it back; to "
        f"do so by hand: 'signalbox registry promote --router {version[:12]}'"
    )


def _used_up(look: Look, *, rules: GateRules) -> str:
    return (
        f"the {rules.horizon} looks that snapshot '{look.snapshot}' is good for are used up, and "
        "nothing is promoted on it any more: with as many new test queries freeze another one with "
        "'signalbox snapshot create'"
    )


def _router(lake: Lake, *, version: str | None) -> tuple[str, str] | None:
    """(version, checkpoint)."""
    if version is None:
        return None
    return version, registry.resolve(lake, version=version)["checkpoint"]


def _anchor(lake: Lake, *, champion: str | None) -> str | None:
    """What the champion is held to beside itself (`cluster.gate.anchor`)."""
    below = registry.champions(lake)
    if champion is None or champion not in below:
        return None
    below = below[: len(below) - below[::-1].index(champion)]
    return anchor(below, decided=lambda version: decision_on(lake, version=version))


def admit(
    night: str,
    *,
    snapshot: str,
    lake: Lake,
    before: int,
    address: str,
    measure: Measure | None = None,
    rules: AdmissionRules | None = None,
) -> list[Admission]:
    """Look at the labels that nobody has looked at yet, batch by batch, and keep out what does not
    fit; events in the lake say so. Rewards that are kept out are not in `outcomes` from then on.

    Asked again for the same night, it finds the same.

    Args:
        night: its name, such as its date.
        snapshot: name of a frozen snapshot.
        lake: where the labels are.
        before: on the first night of a lake, the version of the rewards that are trusted; later
            all is new that the nights before have not looked at.
        address: of Ray's dashboard.
        measure: whose labels; None: those that the snapshot measures by.
        rules: what is promised; None: the defaults.

    Raises:
        InputError: no such snapshot.
    """
    found = admit_and_note(
        night,
        snapshot=snapshot,
        lake=lake,
        before=before,
        measure=measure,
        rules=rules or AdmissionRules(),
        run_job=lambda spec: ray_job(spec, address=address),
    )
    rows: list[dict[str, Any]] = [one.row() for one in found]
    table_artifact(rows, key="admission", description=f"Labels of {night}, by batch")
    return found


def admit_and_note(
    night: str,
    *,
    snapshot: str,
    lake: Lake,
    before: int,
    measure: Measure | None,
    rules: AdmissionRules,
    run_job: RunJob,
) -> list[Admission]:
    """As `admit`, with the job run by whatever is given, and nothing shown."""
    own = measure or load_snapshot(lake, name=snapshot).measure
    scorer_id = scorers_of(lake, dataset=own.dataset, scorer=own.scorer)[0][0]
    seen = looked_at(lake, dataset=own.dataset, scorer_id=scorer_id, night=night)
    spec = AdmitSpec(
        lake=lake.storage.uri,
        night=night,
        **vars(own),
        snapshot=snapshot,
        champion=_router(lake, version=registry.champion(lake)),
        before=before if seen is None else seen,
        inputs=lake.versions(INPUTS),
        rules=rules,
    )
    return [Admission.from_json(one) for one in run_job(spec)["admissions"]]

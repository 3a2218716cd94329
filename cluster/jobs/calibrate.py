"""The calibrate job: how cheaply a router can keep a share of a reference's quality, and how sure.

Only rows of split `calibration` count, and none that the router was trained, selected or promoted
by. What it finds is a record in the lake, which `route --policy quality_floor` goes by.
"""

from collections.abc import Sequence

import numpy as np

from cluster.drift.counts import DriftCounts, count_rows
from cluster.drift.kept import profile_of
from cluster.guarantee.calibration import Sample, Setting, calibrate, usd_per_1000
from cluster.guarantee.known import bounded_outcomes, seen_rows, training_rows
from cluster.guarantee.page import page
from cluster.guarantee.picture import picture
from cluster.guarantee.record import Calibration
from cluster.guarantee.rows import SPLIT, check_bounded, drawn, require_enough
from cluster.guarantee.scored import PLACED_BY, checkpoint_of, policy_of, sample_of, taus_of
from cluster.guarantee.spec import CalibrateSpec
from cluster.jobs.kept_outcomes import outcomes_digest
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.policies.quality_floor import QualityFloor
from cluster.query import digest
from cluster.routers.checkpoint import Checkpoint
from cluster.storage import Storage


def calibrate_router(spec: CalibrateSpec, run: Run) -> Manifest:
    """Try the settings, or take the record that is there; returns the promise and where to look.

    Raises:
        InputError: too few rows, rewards without bounds, a candidate without a price or reward, no
            reference, a router that reads answers, or a damaged checkpoint.
    """
    record = kept_record(spec)
    if record is None:
        record = _calibrated(spec, run=run)
        content = record.model_dump_json(indent=1).encode()
        Storage.at(spec.lake).write(spec.record_uri, content)
    folder = Storage.at(spec.output or spec.record_uri.removesuffix(".json"))
    outputs = {name: folder.join(name) for name in ("calibration.html", "cost_quality.png")}
    folder.write(outputs["calibration.html"], page(record))
    folder.write(outputs["cost_quality.png"], picture(record))
    return {
        "outputs": [spec.record_uri, *outputs.values()],
        "record": spec.record_uri,
        "page": outputs["calibration.html"],
        "picture": outputs["cost_quality.png"],
        "promise": record.promise,
        "certified": record.certified,
        "policy": record.policy_settings(),
        "rows": record.rows,
        "left_out": record.left_out,
        "missing": record.missing,
        "saved": record.saved,
        "chosen": record.chosen.model_dump(mode="json"),
        "table": record.table(),
    }


def kept_record(spec: CalibrateSpec) -> Calibration | None:
    """The record of this very calibration, if there is one."""
    content = Storage.at(spec.lake).read_bytes_or_none(spec.record_uri)
    return None if content is None else Calibration.model_validate_json(content)


def _calibrated(spec: CalibrateSpec, *, run: Run) -> Calibration:
    lake = Lake.open(spec.lake)
    checkpoint = checkpoint_of(spec)
    outcomes = bounded_outcomes(spec, lake=lake, candidates=checkpoint.router.candidates)
    training = training_rows(spec, outcomes=outcomes, lake=lake)
    policy = policy_of(spec, training=training, candidates=checkpoint.router.candidates)
    rows = outcomes.on_splits([SPLIT])
    check_bounded(rows, greatest=spec.reward_max)
    found = drawn(
        rows,
        seen=seen_rows(spec, rows=rows, checkpoint=checkpoint, lake=lake),
        least=float(outcomes.queries["sampling_probability"].to_numpy().min()),
    )
    run.progress(Part("rows", 0, len(found.outcomes)), now=True)
    taus = taus_of(spec, training=training, policy=policy, checkpoint=checkpoint)
    sample = sample_of(spec, found=found, policy=policy, checkpoint=checkpoint)
    require_enough(sample.rows, dataset=spec.dataset)
    policy = policy.model_copy(update={"like": _lie(sample, checkpoint=checkpoint)})
    settled, settings = calibrate(sample, policy=policy, taus=taus, bound=spec.bound)
    run.progress(Part("rows", len(sample.texts), len(found.outcomes)), now=True)
    return _record(spec, policy=settled, settings=settings, sample=sample)


def _record(
    spec: CalibrateSpec, *, policy: QualityFloor, settings: Sequence[Setting], sample: Sample
) -> Calibration:
    found = digest([outcomes_digest(sample.rows.outcomes), spec.wish])[:16]
    return Calibration(
        id=found,
        router=spec.router,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        policy=policy.model_copy(update={"calibration": found}),
        bound=spec.bound,
        reward_max=spec.reward_max,
        prices=spec.prices,
        constraints=spec.constraints,
        rows=len(sample.texts),
        effective=sample.rows.effective,
        left_out=sample.rows.left_out,
        missing=_missing(sample.rows.outcomes),
        settings=_in_own_unit(settings, greatest=spec.reward_max),
        alone=_alone(sample, greatest=spec.reward_max),
    )


def _lie(sample: Sample, *, checkpoint: Checkpoint) -> DriftCounts | None:
    """Where the rows lie among the training queries; None where these are not known.

    The rows are in the order of their texts' hashes, so the first of them stand for all.
    """
    profile = profile_of(checkpoint)
    if profile is None:
        return None
    weight = sample.rows.weight[:PLACED_BY]
    return count_rows(sample.texts[:PLACED_BY], profile=profile, weight=weight)[0].closed()


def _missing(outcomes: OutcomeMatrix) -> dict[str, int]:
    counts = (~outcomes.mask).sum(axis=0).tolist()
    named = zip(outcomes.candidates, counts, strict=True)
    return {name: int(count) for name, count in named if count}


def _in_own_unit(settings: Sequence[Setting], *, greatest: float) -> tuple[Setting, ...]:
    """Settings whose rewards were taken as shares of the greatest."""
    return tuple(one.model_copy(update={"reward": one.reward * greatest}) for one in settings)


def _alone(sample: Sample, *, greatest: float) -> dict[str, tuple[float, float | None]]:
    """By candidate: mean reward where it is known, and USD per 1,000 queries."""
    weight = sample.rows.weight
    found: dict[str, tuple[float, float | None]] = {}
    for column, name in enumerate(sample.rows.outcomes.candidates):
        reward, known = sample.reward[:, column], ~np.isnan(sample.reward[:, column])
        if not known.any():
            continue
        mean = float(weight[known] @ reward[known] / weight[known].sum())
        found[name] = (greatest * mean, usd_per_1000(sample.cost[:, column], weight=weight))
    return found


if __name__ == "__main__":
    main(CalibrateSpec, work=calibrate_router)

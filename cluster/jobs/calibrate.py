"""The calibrate job: how cheaply a router can keep a share of a reference's quality, and how sure.

Only rows of split `calibration` count, and none that the router was trained, selected or promoted
by. What it finds is a record in the lake, which `route --policy quality_floor` goes by.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.folds import hash_positions
from cluster.guarantee.bound import BoundName
from cluster.guarantee.calibration import Sample, Setting, calibrate, usd_per_1000
from cluster.guarantee.page import page
from cluster.guarantee.path import SETTINGS, path
from cluster.guarantee.picture import picture
from cluster.guarantee.record import Calibration
from cluster.guarantee.rows import SPLIT, Drawn, Rows, check_bounded, drawn
from cluster.jobs.kept_outcomes import fitted_on
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import LEARNED, read_outcomes
from cluster.lake.tables import QUERIES, SCORERS
from cluster.normalisation import TO_UNIT, Normalisation
from cluster.outcome import BoolMatrix, FloatMatrix, OutcomeMatrix
from cluster.policies.quality_floor import QualityFloor
from cluster.price import Price, outcome_cost
from cluster.query import digest
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.means import column_means
from cluster.routers.near_duplicates import near_duplicates
from cluster.routing.kernel import lent
from cluster.routing.score import expected_cost, predicted
from cluster.storage import Storage

LOG = logging.getLogger("signalbox.calibrate")
FOLDER = "calibrations"
# Predictions that place the settings: enough for steps of 2 %, and 15 s of a small encoder.
PLACED_BY = 2_000


class CalibrateSpec(JobSpec):
    """What to calibrate, and on what.

    Attributes:
        router, checkpoint: version, and where it lies.
        strong, weak: another pair that the router's own pair speaks for; both empty for none.
        dataset, scorer, normalisation, temperature: whose outcomes, under which label.
        reward_max: the greatest reward there can be; the least is 0.
        inputs: versions of the tables read.
        prices: by candidate's name.
        allowed: names of the candidates that may be chosen; empty for all.
        floor, delta, bound: what is to be promised.
        reference: whose quality; empty: the strong one of the pair, or the best on train.
        output: folder for the page and the picture; empty: beside the record.
    """

    job: ClassVar[str] = "calibrate"

    router: str
    checkpoint: str
    strong: str = ""
    weak: str = ""
    dataset: str
    scorer: str
    normalisation: Normalisation = "none"
    temperature: float = 1.0
    reward_max: float = 1.0
    inputs: dict[str, int]
    prices: dict[str, Price]
    allowed: tuple[str, ...] = ()
    floor: float
    delta: float
    bound: BoundName = "betting"
    reference: str = ""
    output: str = ""

    @property
    def record_id(self) -> str:
        """Identity of the record: where its page is shown makes no other one."""
        return digest([version("signalbox"), self.model_dump_json(exclude={"output"})])[:16]

    @property
    def record_uri(self) -> str:
        """Where the record is."""
        return Storage.at(self.lake).join(FOLDER, f"{self.record_id}.json")


@dataclass(frozen=True)
class Training:
    """Rows that the router's makers knew.

    Attributes:
        texts: (n_queries,).
        reward: (n_queries, n_candidates), NaN where missing.
    """

    texts: pl.Series
    reward: FloatMatrix


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
        "policy": record.policy.model_dump(mode="json"),
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
    checkpoint = _router(spec)
    outcomes = _outcomes(spec, lake=lake, candidates=checkpoint.router.candidates)
    training = _training(spec, outcomes=outcomes, lake=lake)
    policy = _policy(spec, training=training, candidates=checkpoint.router.candidates)
    rows = outcomes.on_splits([SPLIT])
    check_bounded(rows, greatest=spec.reward_max)
    found = drawn(
        rows,
        seen=_seen(spec, rows=rows, checkpoint=checkpoint, lake=lake),
        least=float(outcomes.queries["sampling_probability"].to_numpy().min()),
        dataset=spec.dataset,
    )
    run.progress(Part("rows", 0, len(found.outcomes)), now=True)
    taus = _path(spec, training=training, policy=policy, checkpoint=checkpoint)
    sample = _sample(spec, found=found, checkpoint=checkpoint)
    settled, settings = calibrate(policy, taus, sample, bound=spec.bound)
    run.progress(Part("rows", len(found.outcomes), len(found.outcomes)), now=True)
    return Calibration(
        id=spec.record_id,
        router=spec.router,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        policy=settled.model_copy(update={"calibration": spec.record_id}),
        bound=spec.bound,
        reward_max=spec.reward_max,
        prices=spec.prices,
        allowed=spec.allowed,
        rows=len(found.outcomes),
        effective=found.effective,
        left_out=found.left_out,
        missing=_missing(found.outcomes),
        settings=_in_own_unit(settings, greatest=spec.reward_max),
        alone=_alone(sample, greatest=spec.reward_max),
    )


def _router(spec: CalibrateSpec) -> Checkpoint:
    """The router that is to be calibrated, between the pair that was named, if one was."""
    checkpoint = load_checkpoint(spec.checkpoint, version=spec.router)
    if spec.strong:
        checkpoint = lent(checkpoint, strong=spec.strong, weak=spec.weak)
    read = checkpoint.router.reads_answer_of
    if read:
        raise InputError(
            f"router {spec.router[:12]} decides when '{read}' has answered; a floor is for routers "
            "that decide before: name another --router, such as one of method gain"
        )
    names = checkpoint.router.candidates
    for flag, wanted in (("--allowed", spec.allowed), ("--reference", (spec.reference,))):
        unknown = [name for name in wanted if name and name not in names]
        if unknown:
            raise InputError(
                f"{flag} {', '.join(unknown)}: not candidates of router {spec.router[:12]}; its "
                f"candidates: {', '.join(names)}"
            )
    return checkpoint


def _outcomes(spec: CalibrateSpec, *, lake: Lake, candidates: Sequence[str]) -> OutcomeMatrix:
    """All rows of the dataset, columns as the router has them.

    Raises:
        InputError: as `read_outcomes`, or rewards of this kind have no bounds.
    """
    outcomes = read_outcomes(
        lake,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        temperature=spec.temperature,
        candidates=candidates,
        versions=spec.inputs,
    )
    if spec.normalisation == "z_score":
        raise InputError(f"z-scores have no bounds, and a promise needs some; use {TO_UNIT}")
    if spec.normalisation == "none" and _has_no_bounds(spec.scorer, lake=lake):
        raise InputError(
            f"rewards of scorer '{spec.scorer}' are those of a reward model and have no bounds, "
            f"and a promise needs some; use {TO_UNIT}"
        )
    if spec.normalisation in ("min_max", "sigmoid") and not len(outcomes.on_splits(LEARNED)):
        raise InputError(
            f"dataset '{spec.dataset}' has no train or validation rows to take the scale of "
            f"--normalisation {spec.normalisation} from; use rank, or none for rewards of 0 to 1"
        )
    return outcomes


def _has_no_bounds(scorer: str, *, lake: Lake) -> bool:
    named = (pl.col("name") == scorer) | (pl.col("scorer_id") == scorer)
    specs = lake.read(SCORERS).filter(named)["spec"]
    return any(json.loads(spec).get("scorer") == "reward_model" for spec in specs)


def _training(spec: CalibrateSpec, *, outcomes: OutcomeMatrix, lake: Lake) -> Training:
    """Train and validation rows of the dataset, or where it has none what the router learned from.

    Nothing, where that is not kept, or is about other candidates.
    """
    learned = outcomes.on_splits(LEARNED)
    learned = learned.take(np.asarray(learned.mask.any(axis=1)))
    if len(learned):
        return Training(learned.texts, learned.reward)
    kept = fitted_on(spec.checkpoint, lake=lake)
    if kept is None or not set(outcomes.candidates) <= set(kept.columns):
        return Training(pl.Series([], dtype=pl.String), np.zeros((0, len(outcomes.candidates))))
    texts = lake.scan(QUERIES).select("query_id", "text").collect()
    rows = kept.join(texts, on="query_id", how="inner")
    reward = rows.select(outcomes.candidates).fill_null(float("nan")).to_numpy()
    return Training(rows["text"], reward)


def _policy(
    spec: CalibrateSpec, *, training: Training, candidates: tuple[str, ...]
) -> QualityFloor:
    """The policy with its reference, before it has a tau."""
    reference = spec.reference or spec.strong or _best(training, candidates=candidates)
    if spec.allowed and reference not in spec.allowed:
        raise InputError(
            f"the reference '{reference}' is not among those of --allowed: add it, or name another "
            "--reference"
        )
    price = {name: one.input + one.output for name, one in spec.prices.items()}
    without = [name for name in candidates if name not in price]
    if without:
        raise InputError(
            f"no price for {', '.join(without)}: add it to the candidate's entry, or name a file "
            "with --prices"
        )
    by_price = tuple(sorted(candidates, key=lambda name: price[name]))
    policy = QualityFloor(
        floor=spec.floor, delta=spec.delta, reference=reference, by_price=by_price
    )
    return policy.among(candidates)


def _best(training: Training, *, candidates: tuple[str, ...]) -> str:
    """Who has the highest mean reward on train: over queries, as the promise is.

    Raises:
        InputError: nothing is known of it.
    """
    means = column_means(training.reward) if len(training.texts) else np.array([])
    if not np.isfinite(means).any():
        raise InputError(
            "nothing tells which candidate is the best on train, for there are no train rows here: "
            "name the one whose quality is to be kept with --reference"
        )
    return candidates[int(np.nanargmax(means))]


def _seen(spec: CalibrateSpec, *, rows: OutcomeMatrix, checkpoint: Checkpoint, lake: Lake) -> Rows:
    """(n_queries,): whether a row nearly repeats what the router was trained or promoted by.

    Trained and selected by: the rows it was fitted on. Promoted by: the test rows of its dataset.
    Where what it was fitted on is not kept, all rows of its dataset but its calibration rows.
    """
    queries = lake.scan(QUERIES).select("query_id", "dataset", "split", "text")
    own = pl.col("dataset") == checkpoint.meta.label.get("dataset", spec.dataset)
    kept = fitted_on(spec.checkpoint, lake=lake)
    if kept is None:
        LOG.warning("%s: what it was fitted on is not kept; its dataset stands in", spec.checkpoint)
        known = queries.filter(own & (pl.col("split") != SPLIT))
    else:
        ids = kept["query_id"].implode()
        known = queries.filter(pl.col("query_id").is_in(ids) | (own & (pl.col("split") == "test")))
    return near_duplicates(rows.texts, held_out=known.select("text").collect()["text"])


def _path(
    spec: CalibrateSpec, *, training: Training, policy: QualityFloor, checkpoint: Checkpoint
) -> tuple[float, ...]:
    """The taus, from training rows; where there are none, evenly over all there can be."""
    if not len(training.texts):
        return tuple(np.linspace(-spec.reward_max, spec.reward_max, SETTINGS).tolist())
    texts = training.texts.unique()
    order = np.argsort(hash_positions(texts, purpose="path"), kind="stable")[:PLACED_BY]
    texts = texts[order]
    prediction = predicted(texts, checkpoint=checkpoint)
    cost = expected_cost(texts, prediction=prediction, checkpoint=checkpoint, prices=spec.prices)
    return path(policy, prediction, texts=texts, cost=cost, allowed=_allowed(spec, policy=policy))


def _allowed(spec: CalibrateSpec, *, policy: QualityFloor) -> BoolMatrix | None:
    if not spec.allowed:
        return None
    return np.array([name in spec.allowed for name in policy.candidates])


def _sample(spec: CalibrateSpec, *, found: Drawn, checkpoint: Checkpoint) -> Sample:
    outcomes = found.outcomes
    prediction = predicted(outcomes.texts, checkpoint=checkpoint)
    expected = expected_cost(
        outcomes.texts, prediction=prediction, checkpoint=checkpoint, prices=spec.prices
    )
    cost = outcome_cost(outcomes, prices=spec.prices)
    allowed = np.array([name in spec.allowed for name in outcomes.candidates])
    return Sample(
        rows=found,
        reward=outcomes.reward / spec.reward_max,
        prediction=prediction,
        expected=expected,
        # What an answer would have cost that is missing.
        cost=np.where(np.isnan(cost), expected, cost),
        allowed=allowed if spec.allowed else None,
    )


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

"""The router's part in a calibration: its path of settings, and what it says of the rows."""

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.folds import hash_positions
from cluster.guarantee.calibration import Sample
from cluster.guarantee.known import Training, best_on_train
from cluster.guarantee.path import SETTINGS, path
from cluster.guarantee.rows import Drawn
from cluster.guarantee.spec import CalibrateSpec
from cluster.policies.constraints import Asked, Constraints
from cluster.policies.quality_floor import QualityFloor
from cluster.price import outcome_cost
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.router import Prediction
from cluster.routing.kernel import lent
from cluster.routing.score import expected_cost, expected_prompt_tokens, predicted

# Predictions that place the settings: enough for steps of 2 %, and 15 s of a small encoder.
PLACED_BY = 2_000


def checkpoint_of(spec: CalibrateSpec) -> Checkpoint:
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
    spec.constraints.check(names)
    check_asked(spec, candidates=names)
    return checkpoint


def check_asked(
    spec: CalibrateSpec, *, candidates: tuple[str, ...], reference: str | None = None
) -> None:
    """Make sure that everybody has a price, and that the reference may answer.

    Args:
        spec: what is asked for.
        candidates: names.
        reference: its name; None: the one that is asked for, if one is.

    Raises:
        InputError: somebody has none, or it is no candidate, or not among the allowed ones.
    """
    without = [name for name in candidates if name not in spec.prices]
    if without:
        raise InputError(
            f"policy 'quality_floor' goes by what every candidate costs, and there is no price for "
            f"{', '.join(without)}: add it to the candidate's entry, or name a file with --prices"
        )
    if reference is None:
        reference = spec.reference or spec.strong
    if not reference:
        return
    if reference not in candidates:
        raise InputError(
            f"--reference {reference}: not among the router's candidates; these are "
            f"{', '.join(candidates)}"
        )
    if spec.constraints.allowed and reference not in spec.constraints.allowed:
        raise InputError(
            f"the reference '{reference}' is not among those of --allowed: add it, or name another "
            "--reference"
        )


def policy_of(
    spec: CalibrateSpec, *, training: Training, candidates: tuple[str, ...]
) -> QualityFloor:
    """The policy with its reference, before it has a tau."""
    reference = spec.reference or spec.strong or best_on_train(training, candidates=candidates)
    check_asked(spec, candidates=candidates, reference=reference)
    price = {name: one.input + one.output for name, one in spec.prices.items()}
    by_price = tuple(
        tuple(name for name in candidates if price[name] == level)
        for level in sorted({price[name] for name in candidates})
    )
    policy = QualityFloor(
        floor=spec.floor, delta=spec.delta, reference=reference, by_price=by_price
    )
    return policy.among(candidates)


def taus_of(
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
    # Rules may read what is not known of training rows; they move no tau.
    plain = Constraints(allowed=spec.constraints.allowed, context=spec.constraints.context)
    frame = pl.DataFrame({"text": texts})
    admitted = plain.admit(
        _asked(frame, prediction=prediction, policy=policy, checkpoint=checkpoint),
        candidates=policy.candidates,
    )
    somebody = admitted.reasons.is_null().to_numpy()[:, None]
    allowed = np.where(somebody, admitted.allowed, True)
    return path(policy, prediction=prediction, texts=texts, cost=cost, allowed=allowed)


def _asked(
    frame: pl.DataFrame, *, prediction: Prediction, policy: QualityFloor, checkpoint: Checkpoint
) -> Asked:
    """What constraints look at, of rows with a `text`."""
    return Asked(
        frame=frame,
        texts=frame["text"],
        prompt_tokens=expected_prompt_tokens(frame["text"], checkpoint=checkpoint),
        completion_tokens=prediction.completion_tokens,
        eligible=policy.eligible(prediction),
    )


def sample_of(
    spec: CalibrateSpec, *, found: Drawn, policy: QualityFloor, checkpoint: Checkpoint
) -> Sample:
    """The rows with what routing would see of them; those that nobody may answer are set aside."""
    queries = found.outcomes.queries
    unknown = [name for name in spec.constraints.columns() if name not in queries.columns]
    if unknown:
        raise InputError(
            f"the rules read a column '{unknown[0]}', and calibration rows have none: only tags in "
            "'task' and languages that are detected can be calibrated; change the rules, or route "
            "with another --policy"
        )
    prediction = predicted(found.outcomes.texts, checkpoint=checkpoint)
    asked = _asked(queries, prediction=prediction, policy=policy, checkpoint=checkpoint)
    admitted = spec.constraints.admit(asked, candidates=policy.candidates)
    kept = admitted.reasons.is_null().to_numpy()
    found = found.where(kept, reason="no candidate may answer, by the constraints")
    prediction = Prediction(prediction.reward[kept], prediction.completion_tokens[kept])
    outcomes = found.outcomes
    expected = expected_cost(
        outcomes.texts, prediction=prediction, checkpoint=checkpoint, prices=spec.prices
    )
    cost = outcome_cost(outcomes, prices=spec.prices)
    return Sample(
        rows=found,
        reward=outcomes.reward / spec.reward_max,
        prediction=prediction,
        expected=expected,
        # What an answer would have cost that is missing.
        cost=np.where(np.isnan(cost), expected, cost),
        allowed=admitted.allowed[kept],
    )

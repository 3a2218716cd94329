"""Calibration: settings of a router tried on rows it has never seen, and what may be promised.

With q a query's reward, d = q of the route − floor · q of the reference is a row's margin, and a
setting is certified where the mean margin is above 0 with confidence 1 − delta. Settings are taken
in a fixed order, the dearest first (`cluster.guarantee.path`), and the last that passes before the
first that fails is chosen (`cluster.guarantee.sequence`).

The reference alone needs no test: it keeps all of its own reward. Where constraints send queries
elsewhere it is no longer alone, and is then the first setting that is tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from cluster.errors import InputError
from cluster.guarantee.bound import BOUNDS, Bound, BoundName
from cluster.guarantee.path import choices
from cluster.guarantee.rows import Drawn, worst_case
from cluster.guarantee.sequence import NONE, Samples, Verdict, fixed_sequence
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices
from cluster.policies.quality_floor import QualityFloor
from cluster.routers.router import Prediction


class Setting(BaseModel):
    """One setting of the path, on the calibration rows.

    Attributes:
        tau: of `QualityFloor`; None: everything that may goes to the reference.
        usd_per_1000: what 1,000 queries cost; None where unknown.
        reward: mean reward, missing ones at their worst.
        kept: share of the reference's mean reward.
        at_least: share that is kept with confidence, of this setting looked at alone.
        certified: whether it passed, and none before it failed.
        decided: whether enough rows differ from the reference for the bound to tell.
        elsewhere: share of the queries that do not go to the reference.
        shares: of the queries, by candidate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tau: float | None
    usd_per_1000: float | None
    reward: float
    kept: float
    at_least: float
    certified: bool
    decided: bool = True
    elsewhere: float
    shares: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """Calibration rows with what a router says of them.

    Attributes:
        rows: that count.
        reward: (n_queries, n_candidates), between 0 and 1, NaN where missing.
        prediction: (n_queries, n_candidates).
        expected: (n_queries, n_candidates), expected USD; what the policy goes by.
        cost: (n_queries, n_candidates), USD the answers cost; NaN where unknown.
        allowed: (n_queries, n_candidates), who may be chosen.
    """

    rows: Drawn
    reward: FloatMatrix
    prediction: Prediction
    expected: FloatMatrix
    cost: FloatMatrix
    allowed: BoolMatrix

    @property
    def texts(self) -> pl.Series:
        """(n_queries,)."""
        return self.rows.outcomes.texts


def calibrate(
    sample: Sample, *, policy: QualityFloor, taus: Sequence[float], bound: BoundName
) -> tuple[QualityFloor, tuple[Setting, ...]]:
    """The policy with the cheapest certified tau, and every setting; the reference alone first.

    Args:
        sample: of calibration rows.
        policy: with its floor, delta and reference, for the candidates at hand.
        taus: the path.
        bound: what the promise rests on.

    Raises:
        InputError: constraints send rows elsewhere than to the reference, and that alone cannot be
            shown to keep the floor.
    """
    steps = (None, *taus)
    made = choices(
        policy,
        taus=steps,
        prediction=sample.prediction,
        texts=sample.texts,
        cost=sample.expected,
        allowed=sample.allowed,
    )
    by = BOUNDS[bound]
    is_alone = bool((made[0] == policy.candidates.index(policy.reference)).all())
    verdicts = [tried(chosen, policy=policy, sample=sample, bound=by) for chosen in made]
    if is_alone:
        verdicts[0] = Verdict(np.array([True]), np.array([True]))

    def test(setting: int, alive: Samples) -> Verdict:  # noqa: ARG001 - one sample
        return verdicts[setting]

    last = int(fixed_sequence(test, n_settings=len(steps))[0])
    settings = tuple(
        _setting(
            chosen, tau=tau, verdict=verdict, policy=policy, sample=sample, bound=by
        ).model_copy(update={"certified": bool(place <= last and _says_yes(verdict))})
        for place, (tau, chosen, verdict) in enumerate(zip(steps, made, verdicts, strict=True))
    )
    if last == NONE:
        raise InputError(_barred_words(settings[0], policy=policy, bound=by))
    barred = 0.0 if is_alone else settings[0].elsewhere
    return policy.model_copy(update={"tau": steps[last], "barred": barred}), settings


def _says_yes(verdict: Verdict) -> bool:
    return bool((verdict.passes & verdict.decided).all())


def _barred_words(first: Setting, *, policy: QualityFloor, bound: Bound) -> str:
    """Why there is nothing to promise: not even with the reference wherever it may answer."""
    why = (
        f"it keeps {100 * first.kept:.1f} % of its mean reward, of which "
        f"{100 * first.at_least:.1f} % can be shown with probability {1 - policy.delta:g}"
    )
    if not first.decided:
        why = (
            f"these are fewer than the {bound.least_differing} rows that --bound {bound.name} needs"
        )
    return (
        f"the constraints send {100 * first.elsewhere:.1f} % of the calibration rows elsewhere "
        f"than to the reference '{policy.reference}', and that alone cannot be shown to keep the "
        f"floor of {policy.floor:g}: {why}; loosen --rules, --max-context or --allowed, name "
        "another --reference or a lower --floor, or collect more calibration rows"
    )


def tried(chosen: Choices, *, policy: QualityFloor, sample: Sample, bound: Bound) -> Verdict:
    """Whether one setting holds on the sample."""
    reference = policy.candidates.index(policy.reference)
    earned, against = worst_case(sample.reward, chosen=chosen, reference=reference)
    margin = sample.rows.weight * (earned - policy.floor * against)
    passes = bound.holds(margin[None], floor=policy.floor, delta=policy.delta)
    differing = int((chosen != reference).sum())
    return Verdict(passes, np.array([differing >= bound.least_differing]))


def _setting(
    chosen: Choices,
    *,
    tau: float | None,
    verdict: Verdict,
    policy: QualityFloor,
    sample: Sample,
    bound: Bound,
) -> Setting:
    reference = policy.candidates.index(policy.reference)
    earned, against = worst_case(sample.reward, chosen=chosen, reference=reference)
    weight = sample.rows.weight
    at_least = 1.0
    if (chosen != reference).any():
        at_least = bound.lower(
            earned, reference=against, weight=weight, floor=policy.floor, delta=policy.delta
        )
    shares = np.bincount(chosen, weights=weight, minlength=len(policy.candidates)) / weight.sum()
    mean = float(weight @ earned / weight.sum())
    reference_mean = float(weight @ against / weight.sum())
    return Setting(
        tau=tau,
        usd_per_1000=usd_per_1000(sample.cost[np.arange(len(chosen)), chosen], weight=weight),
        reward=mean,
        kept=mean / reference_mean if reference_mean else 1.0,
        at_least=at_least,
        certified=False,
        decided=bool(verdict.decided.all()),
        elsewhere=float(1 - shares[reference]),
        shares=dict(zip(policy.candidates, shares.tolist(), strict=True)),
    )


def usd_per_1000(cost: npt.NDArray[np.float64], *, weight: FloatMatrix) -> float | None:
    """Mean of (n_queries,) USD, over the rows whose cost is known; None where none is."""
    known = ~np.isnan(cost)
    if not known.any():
        return None
    return float(1000 * weight[known] @ cost[known] / weight[known].sum())

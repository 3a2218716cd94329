"""Calibration: settings of a router tried on rows it has never seen, and what may be promised.

With q a query's reward, d = q of the route − floor · q of the reference is a row's margin, and a
setting is certified where the mean margin is above 0 with confidence 1 − delta. Settings are taken
in a fixed order, the dearest first (`cluster.guarantee.path`), and the last that passes before the
first that fails is chosen (`cluster.guarantee.sequence`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

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
        tau: of `QualityFloor`; None: everything goes to the reference.
        usd_per_1000: what 1,000 queries cost; None where unknown.
        reward: mean reward, missing ones at their worst.
        kept: share of the reference's mean reward.
        at_least: share that is kept with confidence, of this setting looked at alone.
        certified: whether it passed, and all before it.
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
    policy: QualityFloor, taus: Sequence[float], sample: Sample, *, bound: BoundName
) -> tuple[QualityFloor, tuple[Setting, ...]]:
    """The policy with the cheapest certified tau, and every setting; the reference alone first.

    Args:
        policy: with its floor, delta and reference, for the candidates at hand.
        taus: the path.
        sample: of calibration rows.
        bound: what the promise rests on.
    """
    always, *made = choices(
        policy,
        [None, *taus],
        sample.prediction,
        texts=sample.texts,
        cost=sample.expected,
        allowed=sample.allowed,
    )
    by = BOUNDS[bound]

    def test(setting: int, alive: Samples) -> Verdict:  # noqa: ARG001 - one sample
        return tried(made[setting], policy=policy, sample=sample, bound=by)

    last = int(fixed_sequence(test, n_settings=len(taus))[0])
    settings = [
        _setting(chosen, tau=tau, policy=policy, sample=sample, bound=by)
        for tau, chosen in zip([None, *taus], [always, *made], strict=True)
    ]
    certified = [
        one.model_copy(update={"certified": place <= last})
        for place, one in enumerate(settings, -1)
    ]
    tau = None if last == NONE else taus[last]
    return policy.model_copy(update={"tau": tau}), tuple(certified)


def tried(chosen: Choices, *, policy: QualityFloor, sample: Sample, bound: Bound) -> Verdict:
    """Whether one setting holds on the sample."""
    reference = policy.candidates.index(policy.reference)
    earned, against = worst_case(sample.reward, chosen, reference=reference)
    margin = sample.rows.weight * (earned - policy.floor * against)
    passes = bound.holds(margin[None], floor=policy.floor, delta=policy.delta)
    differing = int((chosen != reference).sum())
    return Verdict(passes, np.array([differing >= bound.least_differing]))


def _setting(
    chosen: Choices, *, tau: float | None, policy: QualityFloor, sample: Sample, bound: Bound
) -> Setting:
    reference = policy.candidates.index(policy.reference)
    earned, against = worst_case(sample.reward, chosen, reference=reference)
    weight = sample.rows.weight
    at_least = 1.0
    if (chosen != reference).any():
        at_least = bound.lower(
            earned, against, weight=weight, floor=policy.floor, delta=policy.delta
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
        elsewhere=float(1 - shares[reference]),
        shares=dict(zip(policy.candidates, shares.tolist(), strict=True)),
    )


def usd_per_1000(cost: npt.NDArray[np.float64], *, weight: FloatMatrix) -> float | None:
    """Mean of (n_queries,) USD, over the rows whose cost is known; None where none is."""
    known = ~np.isnan(cost)
    if not known.any():
        return None
    return float(1000 * weight[known] @ cost[known] / weight[known].sum())

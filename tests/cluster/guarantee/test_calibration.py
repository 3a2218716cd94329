"""Settings tried on calibration rows: which are tested, in what order, and what counts as shown."""

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.guarantee.calibration import Sample, calibrate
from cluster.guarantee.rows import Drawn
from cluster.outcome import OutcomeMatrix
from cluster.policies.quality_floor import QualityFloor
from cluster.routers.router import Prediction

ROWS, NAMES = 400, ("cheap", "dear")
# The cheap one is chosen on 10, 100 and all rows.
TAUS = (9.5 / ROWS, 99.5 / ROWS, 2.0)
POLICY = QualityFloor(floor=0.9, reference="dear").among(NAMES)


def sample(*, cheap: float = 1.0, barred: int = 0) -> Sample:
    """The dear one is always right, the cheap one on a share of the rows; a few may not be dear's.

    What the cheap one lacks by prediction rises evenly from 0 to 1.
    """
    queries = pl.DataFrame({"text": [f"question {row}" for row in range(ROWS)]})
    reward = np.ones((ROWS, 2))
    reward[:, 0] = np.random.default_rng(0).random(ROWS) < cheap
    lacks = np.arange(ROWS) / ROWS
    unknown = np.full((ROWS, 2), np.nan)
    allowed = np.ones((ROWS, 2), dtype=bool)
    allowed[ROWS - barred :, 1] = False
    matrix = OutcomeMatrix(
        queries, NAMES, NAMES, reward, unknown, unknown, unknown, unknown, unknown
    )
    cost = np.tile([1.0, 10.0], (ROWS, 1))
    predicted = Prediction(np.column_stack([1 - lacks, np.ones(ROWS)]), np.ones((ROWS, 2)))
    return Sample(Drawn(matrix, np.ones(ROWS), {}), reward, predicted, cost, cost, allowed)


def certified(rows: Sample, *, bound: str = "betting", **changes) -> list[bool]:
    policy = POLICY.model_copy(update=changes)
    _, settings = calibrate(rows, policy=policy, taus=TAUS, bound=bound)
    return [one.certified for one in settings]


def test_the_last_that_holds_is_chosen() -> None:
    settled, settings = calibrate(sample(cheap=0.7), policy=POLICY, taus=TAUS, bound="betting")
    assert settled.tau == [one.tau for one in settings if one.certified][-1]
    assert certified(sample(cheap=0.7))[-1] is False
    assert certified(sample()) == [True] * 4


def test_what_a_bound_cannot_tell_is_passed_over_and_not_certified() -> None:
    _, settings = calibrate(sample(cheap=0.99), policy=POLICY, taus=TAUS, bound="clt")
    assert [one.decided for one in settings] == [True, False, True, True]
    assert [one.certified for one in settings] == [True, False, True, True]


def test_rows_that_may_not_go_to_the_reference_are_tested_first() -> None:
    assert certified(sample(cheap=1.0, barred=200)) == [True] * 4
    told = "send 50.0 % of the calibration rows elsewhere than to the reference 'dear'"
    with pytest.raises(InputError, match=told):
        certified(sample(cheap=0.5, barred=200))
    settled, settings = calibrate(
        sample(cheap=0.5, barred=200),
        policy=POLICY.model_copy(update={"floor": 0.7}),
        taus=(),
        bound="betting",
    )
    assert (settled.tau, settled.barred, settings[0].certified) == (None, 0.5, True)
    assert settled.promises


def test_a_floor_of_1_is_not_kept_by_rules_that_lose_anything() -> None:
    with pytest.raises(InputError, match="floor of 1"):
        certified(sample(cheap=0.9, barred=200), floor=1.0)
    assert certified(sample(cheap=0.9), floor=1.0) == [True, False, False, False]


def test_too_few_barred_rows_for_the_approximation_are_told() -> None:
    with pytest.raises(InputError, match="fewer than the 30 rows that --bound clt needs"):
        calibrate(sample(barred=20), policy=POLICY, taus=(), bound="clt")

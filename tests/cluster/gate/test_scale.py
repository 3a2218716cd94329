"""The gate measures rewards between 0 and 1, and none that only happen to lie there."""

import json

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.evaluation.metrics import TestSet
from cluster.gate.compare import VERSION, Contest, compare
from cluster.gate.scale import check_unit
from cluster.gate.snapshot import Measure
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import SCORERS

UNIT = np.array([[0.0, 1.0], [0.5, np.nan]])


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    specs = {"exact": {"scorer": "exact"}, "logit": {"scorer": "reward_model"}}
    rows = [
        {"scorer_id": name, "name": name, "spec": json.dumps(spec)} for name, spec in specs.items()
    ]
    append_new(pl.DataFrame(rows), lake=lake, table=SCORERS)
    return lake


def test_rewards_of_a_known_range_are_measured(lake) -> None:
    check_unit(UNIT, measure=Measure("toy", scorer="exact"), lake=lake)
    for normalisation in ("min_max", "rank", "sigmoid"):
        check_unit(UNIT, measure=Measure("toy", "logit", normalisation), lake=lake)


@pytest.mark.parametrize(
    ("scorer", "normalisation", "reward", "said"),
    [
        ("logit", "none", UNIT, "reward model and have no bounds"),
        ("exact", "z_score", UNIT, "z-scores have no bounds"),
        ("exact", "none", 100 * UNIT, "from 0 to 100"),
        ("exact", "none", UNIT - 0.5, "from -0.5 to 0.5"),
    ],
)
def test_others_are_refused_with_what_to_do(lake, scorer, normalisation, reward, said) -> None:
    with pytest.raises(InputError, match=rf"{said}.*min_max, rank or sigmoid"):
        check_unit(reward, measure=Measure("toy", scorer, normalisation), lake=lake)


def test_a_rare_loss_that_the_sample_lacks_makes_no_winner() -> None:
    """Better by .003 on most queries, and worse by .6 on one of 150: truly worse by .001."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(100):
        own = np.where(rng.random(150) < 1 / 150, 0.0, 0.603)
        reward = np.column_stack([own, np.full(150, 0.6)])
        contest = Contest(
            test=TestSet(("new", "old"), np.full(150, "t"), reward, np.full((150, 2), np.nan)),
            routes={VERSION: np.tile([1.0, 0.0], (150, 1))},
            train_reward=np.array([0.5, 0.6]),
        )
        wrong += compare(contest, level=0.005)[0].low > 0
    assert wrong == 0

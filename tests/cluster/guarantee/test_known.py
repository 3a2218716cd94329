"""Whose rewards have bounds: a promise cannot rest on any others."""

import json

import polars as pl
import pytest

from cluster.guarantee.known import has_no_bounds
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import SCORERS

SPECS = {
    "helpful": {"scorer": "reward_model", "model": "rm"},
    "right": {"scorer": "exact"},
    "table": {"imported": "routerdc"},
    "blend": {"scorer": "weighted", "of": {"right": 1.0, "helpful": 0.5}, "normalise": "none"},
    "squashed": {"scorer": "weighted", "of": {"helpful": 1.0}, "normalise": "sigmoid"},
    "plain": {"scorer": "weighted", "of": {"right": 1.0}, "normalise": "none"},
    "scaled": {"scorer": "weighted", "of": {"right": 1.0}, "normalise": "z_score"},
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    made = Lake.open(str(tmp_path_factory.mktemp("lake")))
    rows = [
        {"scorer_id": f"id of {name}", "name": name, "spec": json.dumps(spec)}
        for name, spec in SPECS.items()
    ]
    append_new(pl.DataFrame(rows), lake=made, table=SCORERS)
    return made


@pytest.mark.parametrize(
    ("scorer", "unbounded"),
    [
        ("helpful", True),
        ("id of helpful", True),
        ("right", False),
        ("table", False),
        ("blend", True),
        ("squashed", False),
        ("plain", False),
        ("scaled", True),
    ],
)
def test_a_reward_model_and_what_is_made_of_it_have_none(lake, scorer, unbounded) -> None:
    assert has_no_bounds(scorer, lake=lake) == unbounded

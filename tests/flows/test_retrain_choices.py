"""Whom a night's routers may choose: who is in the candidate file, and who came with a table."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster import registry
from cluster.candidate import Candidate, load_candidates
from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.jobs.train import TrainSpec
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, read_outcomes
from cluster.lake.tables import CANDIDATES, QUERIES, REWARDS, SCORERS, Table
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn
from flows.retrain_choices import Choices, unavailable

NAMES = ("gone", "stays")


def candidates(folder: Path, *names: str, **settings: Any) -> list[Candidate]:
    """As a candidate file has them, of a server that nobody asks here."""
    endpoint = {"endpoint": {"url": "http://127.0.0.1:9/v1"}}
    entries = [{"name": name, "engine": "openai", "model": name} | endpoint for name in names]
    file = folder / "candidates.yaml"
    file.write_text(json.dumps([entry | settings for entry in entries]))
    return list(load_candidates(str(file)))


def add(lake: Lake, table: Table, *rows: dict[str, Any]) -> None:
    append_new(pl.DataFrame(list(rows), schema=table.schema), lake=lake, table=table)


def reward(lake: Lake, key: str, *, name: str, spec: str) -> None:
    """A candidate with a reward on the only query."""
    add(lake, CANDIDATES, {"candidate_id": key, "sequence": 1, "name": name, "spec": spec})
    place = {"query_id": "q", "sample": 0, "scorer_id": "s"}
    add(lake, REWARDS, {"candidate_id": key, "value": 1.0, "weight": 1.0} | place)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two candidates that engines of ours asked, and an imported one."""
    lake = Lake.open(tmp_path / "lake")
    query = {"query_id": "q", "dataset": "d", "task": "t", "split": "train", "text": "text"}
    add(lake, QUERIES, query | {"sampling_probability": 1.0})
    add(lake, SCORERS, {"scorer_id": "s", "name": "exact", "spec": "{}"})
    for one in candidates(tmp_path, *NAMES):
        reward(lake, one.candidate_id, name=one.name, spec=one.model_dump_json())
    reward(lake, "table-id", name="table", spec=json.dumps({"imported": "table"}))
    return lake


def choices(lake: Lake, file: list[Candidate]) -> Choices:
    spec = TrainSpec(
        lake=lake.storage.uri,
        methods=("knn",),
        dataset="d",
        scorer="",
        normalisation="none",
        candidates=(),
        prices={},
        champion=None,
        seed=0,
        inputs=lake.versions(INPUTS),
    )
    return Choices.of(file, spec=spec, lake=lake)


def test_who_was_taken_out_of_the_file_is_no_choice(lake: Lake, tmp_path: Path) -> None:
    found = choices(lake, candidates(tmp_path, "stays", "not asked yet"))
    assert found.names == ("stays", "table")
    assert list(found.gone.values()) == ["gone"]


def test_a_candidate_with_other_settings_is_another_one(lake: Lake, tmp_path: Path) -> None:
    found = choices(lake, candidates(tmp_path, *NAMES, seed=1))
    assert found.names == ("table",)
    assert set(found.gone.values()) == set(NAMES)


def test_a_candidate_by_another_name_or_price_is_the_same(lake: Lake, tmp_path: Path) -> None:
    file = candidates(tmp_path, *NAMES, price={"input": 1.0, "output": 1.0})
    renamed = [one.model_copy(update={"name": f"{one.name}-2"}) for one in file]
    assert not choices(lake, renamed).gone


@pytest.mark.parametrize("names", [(), NAMES], ids=["no file", "all are there"])
def test_where_nobody_is_gone_all_are_trained_on(
    lake: Lake, names: tuple[str, ...], tmp_path: Path
) -> None:
    found = choices(lake, candidates(tmp_path, *names) if names else [])
    assert (found.names, found.gone) == ((), {})


def test_where_all_are_gone_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    query = {"query_id": "q", "dataset": "d", "task": "t", "split": "train", "text": "text"}
    add(lake, QUERIES, query | {"sampling_probability": 1.0})
    add(lake, SCORERS, {"scorer_id": "s", "name": "exact", "spec": "{}"})
    [old] = candidates(tmp_path, "gone")
    reward(lake, old.candidate_id, name="gone", spec=old.model_dump_json())
    found = choices(lake, candidates(tmp_path, "new"))
    with pytest.raises(InputError, match="--candidates: no candidate of the file has a reward"):
        _ = found.names


def test_a_champion_that_may_choose_who_is_gone_is_told_of(lake: Lake, tmp_path: Path) -> None:
    both = candidates(tmp_path, *NAMES)
    outcomes = read_outcomes(lake, dataset="d", scorer="exact", candidates=[*NAMES, "table"])
    meta = CheckpointMeta(candidate_ids=outcomes.candidate_ids)
    folder = f"{lake.storage.uri}/router"
    version = save_checkpoint(Knn(k=1).fit(outcomes, seed=0), folder, meta=meta)
    told: dict[str, Any] = {"method": "knn", "dataset": "d", "metrics": {}, "why": "trained"}
    registry.register(lake, version=version, checkpoint=folder, **told)
    assert unavailable(both[1:], lake=lake) is None
    registry.promote(lake, version=version, decide=lambda _: Decision(promote=True, why="by hand"))
    assert unavailable(both, lake=lake) is None
    assert unavailable([], lake=lake) is None
    assert unavailable(both[1:], lake=lake) == {"version": version, "candidates": ["gone"]}

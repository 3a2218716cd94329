"""Rewards by real models through the command line: a reward model, and a judge's battles."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.preferences import read_preferences
from cluster.lake.tables import REWARDS, SCORERS
from cluster.rewards.judge_report import judge_summary

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "infra" / "demo" / "models"
QUERIES = 30


def tiny_models() -> Any:
    """The makers of tiny reward models and judges, from the scorers' own tests."""
    file = HERE.parent / "cluster" / "rewards" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_models", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def collected(signalbox: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with a lake in it, and the manifest of the run that filled it."""
    folder = tmp_path_factory.mktemp("labels")
    makers = tiny_models()
    for name in ("rm", "judge"):
        (folder / name).mkdir()
    makers.save_reward_llama(folder / "rm", max_position_embeddings=512)
    makers.save_judge(folder / "judge", likes="A")
    questions = (MODELS.parent / "questions" / "collect.jsonl").read_text().splitlines()
    (folder / "q.jsonl").write_text("\n".join(questions[:QUERIES]))
    candidates = [
        {
            "name": name,
            "engine": "transformers",
            "model": str(MODELS / name),
            "template": "{text}\nA:",
            "sampling": {"max_tokens": 8},
        }
        for name in ("abacus", "scribe")
    ]
    (folder / "candidates.yaml").write_text(json.dumps(candidates))
    judge = {"engine": "transformers", "model": "./judge", "sampling": {"max_tokens": 1}}
    pairwise = {"scorer": "judge", "mode": "pairwise", "structured": False}
    scorers = {
        "helpful": {"scorer": "reward_model", "model": "./rm", "engine": "transformers"},
        "referee": pairwise | {"candidate": judge},
    }
    (folder / "labels.yaml").write_text(json.dumps({"scorers": scorers}))
    words = ("--queries", "q.jsonl", "--candidates", "candidates.yaml", "--labels", "labels.yaml")
    done = signalbox("collect", *words, "--dataset", "d", "--lake", "lake", cwd=folder)
    return folder, done.manifest


def test_rewards_are_in_the_lake(collected: tuple[Path, Any]) -> None:
    folder, manifest = collected
    told = manifest["label"]["rewards"]
    assert (told["helpful"]["new"], told["referee"]["new"]) == (2 * QUERIES, 2 * QUERIES)
    assert told["referee"]["battles"] == QUERIES
    assert told["referee"]["completion_tokens"] > 0
    lake = Lake.open(folder / "lake")
    helpful = read_outcomes(lake, dataset="d", scorer="helpful")
    assert helpful.reward.shape == (QUERIES, 2)
    assert len(np.unique(helpful.reward)) > QUERIES
    assert lake.read(REWARDS)["reason"].str.starts_with("orders: ").any()
    assert str(folder) not in "".join(lake.read(SCORERS)["spec"])


def test_a_judge_that_always_prefers_the_first_is_found_out(collected: tuple[Path, Any]) -> None:
    lake = Lake.open(collected[0] / "lake")
    battles = read_preferences(lake, dataset="d", judge="referee")
    assert battles.candidates == ("abacus", "scribe")
    assert set(battles.reward.flatten()) == {0.5}
    summary = judge_summary(lake, dataset="d")
    assert summary["gold"].to_list() == ["exact"]
    assert summary["position_bias"].to_list() == [1.0]
    assert summary["agreement"].to_list() == [0.5]


def test_a_router_is_trained_on_a_judges_battles(
    collected: tuple[Path, Any], signalbox: Any
) -> None:
    words = ("--preferences", "d", "--judge", "referee", "--strong", "abacus", "--weak", "scribe")
    method = ("--methods", "similarity_weighted", "--scorer", "exact")
    trained = signalbox(
        "train", "--lake", "lake", "--dataset", "d", *method, *words, cwd=collected[0]
    )
    assert [router["method"] for router in trained.manifest["routers"]] == ["similarity_weighted"]

"""From an arena's file to a routed one, through the command line, for a pair never trained on."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.lake.lake import Lake
from cluster.lake.tables import PREFERENCES


def ask(draw: random.Random) -> tuple[str, bool]:
    """A text, and whether it takes a strong candidate."""
    hard = draw.random() < 0.5
    kind = "prove theorem {} on lattice {}" if hard else "greet person {} in room {}"
    return kind.format(draw.randint(0, 9999), draw.randint(0, 9999)), hard


def arena(n: int = 400) -> list[dict[str, Any]]:
    """As LMSYS' 33k has it: six candidates, of which the first three are strong."""
    draw = random.Random(0)
    rows = []
    for number in range(n):
        text, hard = ask(draw)
        sides = draw.sample(range(6), 2)
        right = [draw.random() < (0.9 if side < 3 or not hard else 0.2) for side in sides]
        winner = {1: "model_a", 0: "tie (bothbad)", -1: "model_b"}[right[0] - right[1]]
        talk = [{"role": "user", "content": text}, {"role": "assistant", "content": "well"}]
        rows.append(
            {
                "question_id": str(number),
                **{f"model_{name}": f"m{side}" for name, side in zip("ab", sides, strict=True)},
                "winner": winner,
                "judge": f"arena_user_{number}",
                "conversation_a": talk,
                "conversation_b": talk,
            }
        )
    return rows


def scores(strong: str, weak: str, *, seed: int) -> pl.DataFrame:
    """All test, as RouteLLM publishes its tables: the strong one is worse on what is easy."""
    draw = random.Random(seed)
    asked = [ask(draw) for _ in range(150)]
    return pl.DataFrame(
        {
            "text": [text for text, _ in asked],
            strong: [draw.random() < (0.9 if hard else 0.8) for _, hard in asked],
            weak: [draw.random() < (0.2 if hard else 0.9) for _, hard in asked],
        }
    )


@pytest.fixture(scope="module")
def battles(signalbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a lake of battles and two pairs' scores."""
    folder = tmp_path_factory.mktemp("battles")
    (folder / "arena.json").write_text(json.dumps(arena()))
    scores("large", "small", seed=1).write_csv(folder / "first.csv")
    scores("grand", "petite", seed=2).write_csv(folder / "second.csv")
    imported = {
        name: signalbox(
            *("import", "--format", form, "--path", file, "--dataset", name, "--lake", "lake"),
            cwd=folder,
        ).manifest
        for name, form, file in (
            ("arena", "battles", "arena.json"),
            ("first", "table", "first.csv"),
            ("second", "table", "second.csv"),
        )
    }
    return folder, imported


def test_import_tells_of_battles(battles: Any) -> None:
    folder, imported = battles
    told = imported["arena"]
    assert (told["battles"], told["new_battles"], told["judges"]) == (400, 400, ["human"])
    assert told["ties"] > 50
    assert {row["split"] for row in told["counts"]} == {"train", "validation"}
    assert Lake.open(folder / "lake").read(PREFERENCES).height == 400


def test_battles_train_a_router_that_another_pair_is_routed_by(
    battles: Any, signalbox: Any, tmp_path: Path
) -> None:
    folder, _ = battles
    (tmp_path / "own.yaml").write_text("mf: {noise: 0.0, epochs: 10}\n")
    lake = ("--lake", folder / "lake")
    pair = ("--strong", "large", "--weak", "small", "--settings", tmp_path / "own.yaml")
    words = ("train", "--dataset", "first", "--preferences", "arena", *pair)
    result = signalbox(*words, "--methods", "mf,similarity_weighted", *lake)
    routers = {router["method"]: router for router in result.manifest["routers"]}
    assert set(routers) == {"mf", "similarity_weighted"}
    assert "against" in result.err
    assert all(router["metrics"]["macro_accuracy"] > 0.5 for router in routers.values())

    version = routers["mf"]["version"]
    other = ("--strong", "grand", "--weak", "petite")
    words = ("evaluate", "--dataset", "second", "--preferences", "arena", *other)
    fitted = ("--methods", "similarity_weighted", "--routers", version)
    assert signalbox(*words, *fitted, *lake, "--output", "out", cwd=tmp_path).manifest
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())
    apgr = {row["method"]: row["value"] for row in rows if row["metric"] == "apgr"}
    assert apgr["similarity_weighted"] > 0.7
    assert apgr[version] > 0.7

    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"text": "prove theorem 7 on lattice 3"}\n{"text": "greet person 1"}\n')
    words = ("route", "--input", asked, "--output", "routed.jsonl", "--router", version)
    assert signalbox(*words, *other, *lake, cwd=tmp_path).manifest["rows"] == 2
    routed = [json.loads(line) for line in (tmp_path / "routed.jsonl").read_text().splitlines()]
    assert {row["candidate"] for row in routed} <= {"grand", "petite"}

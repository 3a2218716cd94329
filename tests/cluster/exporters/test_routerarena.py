import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn
from cluster.routers.post_answer import PostAnswer

CANDIDATES = ("cheap", "strong")
FIELDS = ["global index", "prompt", "prediction", "generated_result", "cost", "accuracy"]
QUERIES = [
    {"global index": "AIME_112", "prompt_formatted": " add 3 and 4 \r\n"},
    {"global index": "Poems_7", "prompt_formatted": "a poem on 9 trees\u2028{{x}}"},
    {"global index": "AIME_1", "prompt_formatted": "add 3 and 4"},
]


def sums_and_poems() -> OutcomeMatrix:
    """`cheap` can add, `strong` can write poems and costs ten times as much."""
    texts = [f"add {n} and {n + 1}" for n in range(40)] + [
        f"a poem on {n} trees" for n in range(40)
    ]
    reward = np.array([[1.0, 0.0]] * 40 + [[0.0, 1.0]] * 40)
    queries = pl.DataFrame({"query_id": texts, "task": "t", "split": "train", "text": texts})
    queries = queries.with_columns(dataset=pl.lit("d"), sampling_probability=pl.lit(1.0))
    tokens = np.full(reward.shape, 10.0)
    answers = pl.DataFrame(dict.fromkeys(CANDIDATES, ["so"] * len(texts)))
    return OutcomeMatrix(
        queries,
        CANDIDATES,
        ("id-1", "id-2"),
        *(reward, tokens, tokens, tokens, tokens, tokens * 0),
        answers=answers,
    )


def register(lake: Lake, router: Any, *, champion: bool) -> str:
    folder = lake.storage.join("checkpoints", router.method)
    data = {"prompt_tokens_per_character": dict.fromkeys(CANDIDATES, 0.5)}
    ids = dict(zip(CANDIDATES, ("id-1", "id-2"), strict=True))
    meta = CheckpointMeta(candidate_ids=tuple(ids[name] for name in router.candidates), data=data)
    version = save_checkpoint(router, folder, meta=meta)
    facts = {"method": router.method, "dataset": "d", "metrics": {}, "why": "test"}
    registry.register(lake, version=version, checkpoint=folder, **facts)
    if champion:
        decision = Decision(promote=True, why="test")
        registry.promote(lake, version=version, decide=lambda _: decision)
    return version


@pytest.fixture
def champion(lake: Lake) -> str:
    return register(lake, Knn(k=5).fit(sums_and_poems(), seed=0), champion=True)


@pytest.fixture
def ask(lake: Lake, exported: Any, tmp_path: Path) -> Callable[..., Any]:
    """Export the prediction file of some queries; returns the export."""

    def run(queries: Any = QUERIES, **request: Any) -> Any:
        path = tmp_path / "router_data.json"
        path.write_text(json.dumps(queries), encoding="utf-8")
        return exported(lake, form="routerarena", queries=str(path), dataset="", **request)

    return run


def entries(made: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(made.files[""])
    return found


def test_every_query_in_order_with_its_prompt_to_the_letter(champion: str, ask: Any) -> None:
    made = ask()
    found = entries(made)
    assert [entry["global index"] for entry in found] == ["AIME_112", "Poems_7", "AIME_1"]
    assert [entry["prompt"] for entry in found] == [query["prompt_formatted"] for query in QUERIES]
    assert [entry["prediction"] for entry in found] == ["cheap", "strong", "cheap"]
    for entry in found:
        assert list(entry) == [*FIELDS, "for_optimality"]
        assert [entry[name] for name in FIELDS[3:]] == [None] * 3
        assert entry["for_optimality"] is False
    assert made.rows == {"": 3}
    shares = {"cheap": pytest.approx(2 / 3), "strong": pytest.approx(1 / 3)}
    assert made.told == {"router": champion, "policy": "best", "shares": shares}


def test_prompts_may_be_called_prompt(champion: str, ask: Any) -> None:
    found = entries(ask([{"global index": "x", "prompt": "add 3 and 4"}]))
    assert [entry["prompt"] for entry in found] == ["add 3 and 4"]


def test_cost_counts_under_utility(champion: str, ask: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("cheap: {input: 1, output: 1}\nstrong: {input: 10, output: 10}\n")
    asked = {"policy": "utility", "prices": str(prices)}
    thrifty = ask(policy_settings={"lambda_usd": 1e5}, **asked)
    assert {entry["prediction"] for entry in entries(thrifty)} == {"cheap"}
    rich = ask(policy_settings={"lambda_usd": 1.0}, **asked)
    assert entries(rich)[1]["prediction"] == "strong"
    with pytest.raises(InputError, match="price"):
        ask(policy="utility", policy_settings={"lambda_usd": 1.0})


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([{"prompt": "x"}], "no field 'global index' or 'global_index'"),
        ([{"global index": "a"}], "no field 'prompt_formatted' or 'prompt'"),
        ([*QUERIES, {"global index": "b"}], "row 4, field 'prompt_formatted': expected text"),
        ([*QUERIES, QUERIES[0]], "row 4, field 'global index': 'AIME_112' stands there twice"),
        ([*QUERIES, 7], "row 4: expected a JSON object, found 7"),
        ([], "no rows"),
        ({"global index": "a"}, "expected a JSON list of objects"),
    ],
)
def test_a_bad_query_file_is_named(
    champion: str, ask: Any, tmp_path: Path, queries: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as told:
        ask(queries)
    assert str(tmp_path / "router_data.json") in str(told.value)


def test_what_is_missing_is_named(lake: Lake, exported: Any, ask: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--queries: name RouterArena's query file"):
        exported(lake, form="routerarena")
    with pytest.raises(InputError, match="no such table file"):
        exported(lake, form="routerarena", queries=str(tmp_path / "absent.json"))
    with pytest.raises(InputError, match="there is no champion"):
        ask()


def test_a_router_that_reads_answers_is_refused(lake: Lake, ask: Any) -> None:
    router = PostAnswer(strong="strong", weak="cheap").fit(sums_and_poems(), seed=0)
    version = register(lake, router, champion=False)
    with pytest.raises(InputError, match="decides when 'cheap' has answered"):
        ask(router=version[:12])

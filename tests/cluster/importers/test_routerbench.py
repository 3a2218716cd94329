from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.importers.routerbench import read, turns

TURNS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3)


def wide(**more: Any) -> dict[str, list[Any]]:
    """Two prompts and two models, as the 0-shot and 5-shot tables have them."""
    return {
        "sample_id": ["mmlu-anatomy.val.3", "mtbench.dev.1"],
        "prompt": ["['Which bone?\\nA) one\\nB) two']", '["Write a poem.", "Now \'shorter\'."]'],
        "eval_name": ["mmlu-anatomy", "mtbench"],
        "gpt-4-1106-preview": [1.0, 0.75],
        "mistralai/mistral-7b-chat": [0.0, None],
        "gpt-4-1106-preview|model_response": ["['A']", "['Roses', 'Rose']"],
        "mistralai/mistral-7b-chat|model_response": ["['B)']", "[]"],
        "gpt-4-1106-preview|total_cost": [0.0074, 0.02],
        "mistralai/mistral-7b-chat|total_cost": [1.5e-05, 3e-05],
        "oracle_model_to_route_to": ["gpt-4-1106-preview", "no_model_correct"],
    } | more


RAW = {
    "sample_id": ["s.1", "s.1", "s.2"],
    "prompt": ["['x']"] * 3,
    "eval_name": ["hellaswag"] * 3,
    "model_name": ["a", "b", "b"],
    "performance": [1.0, 0.0, 1.0],
    "model_response": ["['A']", "['B']", None],
    "cost": [0.1, 0.2, 0.3],
}


def save(frame: dict[str, list[Any]], path: Path) -> Path:
    table = pl.DataFrame(frame)
    {".csv": table.write_csv, ".parquet": table.write_parquet, ".jsonl": table.write_ndjson}[
        path.suffix
    ](path)
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_a_wide_table_keeps_scores_answers_and_costs(ending: str, tmp_path: Path) -> None:
    table = read(str(save(wide(), tmp_path / f"routerbench_0shot{ending}")))
    fields = ("task", "text", "candidate", "value", "answer", "cost_usd")
    first = "Which bone?\nA) one\nB) two"
    assert sorted(table.rows.select(fields).rows()) == [
        ("mmlu-anatomy", first, "gpt-4-1106-preview", 1.0, "A", 0.0074),
        ("mmlu-anatomy", first, "mistralai/mistral-7b-chat", 0.0, "B)", 1.5e-05),
        (
            "mtbench",
            "Write a poem.\n\nNow 'shorter'.",
            "gpt-4-1106-preview",
            0.75,
            "Roses\n\nRose",
            0.02,
        ),
    ]
    assert set(table.rows["split"]) == {"test"}
    assert set(table.rows["scorer"]) == {"accuracy"}


def test_the_long_table_tells_queries_apart_by_their_sample(tmp_path: Path) -> None:
    table = read(str(save(RAW, tmp_path / "routerbench_raw.csv")))
    fields = ("occurrence", "candidate", "value", "answer", "cost_usd")
    assert sorted(table.rows.select(fields).rows()) == [
        (0, "a", 1.0, "A", 0.1),
        (0, "b", 0.0, "B", 0.2),
        (1, "b", 1.0, None, 0.3),
    ]


def test_not_a_number_is_a_missing_score(tmp_path: Path) -> None:
    frame = wide(**{"mistralai/mistral-7b-chat": [float("nan"), float("nan")]})
    table = read(str(save(frame, tmp_path / "train_0shot.parquet")))
    assert table.candidates == ["gpt-4-1106-preview"]
    assert set(table.rows["split"]) == {"train"}


def test_lists_that_stayed_lists_are_read_too(tmp_path: Path) -> None:
    frame = wide(prompt=[["one"], ["one", "two"]])
    table = read(str(save(frame, tmp_path / "r.parquet")))
    assert table.queries["text"].to_list() == ["one", "one\n\ntwo"]


@given(TURNS)
def test_turns_are_those_that_were_written(said: list[str]) -> None:
    assert turns(repr(said)) == "\n\n".join(said)


@pytest.mark.parametrize(
    "text",
    ["plain", "[1, 2]", "[]", "['open]", "[__import__('os')]", "['a' for a in 'b']", "[" * 300],
)
def test_what_is_no_list_of_texts_stands_as_it_is(text: str) -> None:
    assert turns(text) == text


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"sample_id": ["1"], "prompt": ["x"]}, "no column 'eval_name'"),
        (
            {"sample_id": ["1"], "prompt": ["x"], "eval_name": ["t"], "a": [1]},
            r"no column '<model>\|total_cost' or .*model_name, performance; found",
        ),
        (
            {"sample_id": ["1"], "prompt": ["x"], "eval_name": ["t"], "a|total_cost": [1]},
            r"there is 'a\|total_cost' and no column 'a' with this model's scores",
        ),
        (wide(prompt=["x", "['']"]), "row 2, field 'prompt': expected the query's text"),
        (
            wide(**{"gpt-4-1106-preview": ["1", "good"]}),
            "row 2, field 'gpt-4-1106-preview': expected a finite number, found 'good'",
        ),
        (
            RAW | {"model_name": ["a", " ", "b"]},
            "row 2, field 'model_name': expected a candidate's name",
        ),
        (RAW | {"cost": [0.1, float("inf"), 0.3]}, "row 2, field 'cost': expected a finite"),
        (
            wide(prompt=[[1], [2]]),
            r"field 'prompt': expected text or a number, found List\(Int64\)",
        ),
    ],
)
def test_bad_input_is_named(frame: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    path = save(frame, tmp_path / "routerbench.parquet")
    with pytest.raises(InputError, match=message) as told:
        read(str(path))
    assert str(path) in str(told.value)

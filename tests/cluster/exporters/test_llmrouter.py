import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes

SCORES = st.one_of(st.none(), st.sampled_from([0.0, 1.0]), st.floats(-5, 5, width=32))
CELLS = st.lists(
    st.tuples(
        st.sampled_from(["x", "y\nz \u2028", 'say "hi", \u00e9\U0001f600']),
        st.sampled_from(["sums", "", "a_train"]),
        st.sampled_from(["train", "validation", "test", "calibration"]),
        st.tuples(SCORES, SCORES),
        st.one_of(st.none(), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=6,
)


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().splitlines()]


def test_routing_data_has_every_published_field(lake: Lake, exported: Any) -> None:
    files = exported(lake, form="llmrouter").files
    assert list(files) == [
        *("routing_train_data.jsonl", "query_data_train.jsonl"),
        *("routing_test_data.jsonl", "query_data_test.jsonl"),
        *("routing_calibration_data.jsonl", "query_data_calibration.jsonl"),
        "default_llm.json",
    ]
    asked = {
        "task_name": "math",
        "query": "two plus two",
        "ground_truth": "4",
        "metric": "accuracy",
        "choices": None,
        "task_id": None,
    }
    assert lines(files["query_data_test.jsonl"]) == [asked]
    assert lines(files["routing_test_data.jsonl"]) == [
        asked
        | {
            "model_name": "small",
            "response": "so two plus two",
            "token_num": 10,
            "input_tokens": 3,
            "output_tokens": 7,
            "response_time": None,
            "api_key_used": "",
            "performance": 0.0,
            "embedding_id": 2,
            "user_id": None,
            "fig_id": None,
        }
    ]


def test_embeddings_are_numbered_by_line_through_train_and_test(lake: Lake, exported: Any) -> None:
    files = exported(lake, form="llmrouter").files
    numbers = {
        entry["query"]: entry["embedding_id"]
        for split in ("train", "test", "calibration")
        for entry in lines(files[f"routing_{split}_data.jsonl"])
    }
    asked = [
        entry["query"]
        for split in ("train", "test", "calibration")
        for entry in lines(files[f"query_data_{split}.jsonl"])
    ]
    assert [numbers[query] for query in asked] == list(range(4))


def test_candidates_are_described_by_train_alone(lake: Lake, exported: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("small: {input: 0.1, output: 0.4}\n")
    entries = json.loads(
        exported(lake, form="llmrouter", prices=str(prices)).files["default_llm.json"]
    )
    assert list(entries) == ["large", "small"]
    assert entries["small"] == {
        "feature": "small, whose mean reward on train queries is: Computer_Science 0.250, "
        "math 1.000.",
        "model": "small",
        "input_price": 0.1,
        "output_price": 0.4,
    }
    assert "input_price" not in entries["large"]


def test_named_splits_alone_and_nothing_stale(lake: Lake, exported: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    exported(lake, form="llmrouter", output=output)
    assert (output / "routing_calibration_data.jsonl").exists()
    made = exported(lake, form="llmrouter", output=output, splits=("train", "test"))
    assert {file.name for file in output.iterdir()} == set(made.files)
    assert made.rows == {
        "routing_train_data.jsonl": 4,
        "query_data_train.jsonl": 2,
        "routing_test_data.jsonl": 1,
        "query_data_test.jsonl": 1,
    }


def test_what_is_not_there_is_named(lake: Lake, exported: Any) -> None:
    with pytest.raises(InputError, match="--dataset: name the dataset"):
        exported(lake, form="llmrouter", dataset="")
    with pytest.raises(InputError, match="dataset 'other' is not in"):
        exported(lake, form="llmrouter", dataset="other")
    with pytest.raises(InputError, match="no rewards of scorer 'f1' on this dataset"):
        exported(lake, form="llmrouter", scorer="f1")
    with pytest.raises(
        InputError,
        match="no query with a reward in validation; its splits: calibration, test, train",
    ):
        exported(lake, form="llmrouter", splits=("validation",))


def rewards(lake: Lake) -> list[Any]:
    """(split, task, text, what each candidate got) of every query, sorted."""
    outcomes = read_outcomes(lake, dataset="toy", scorer="accuracy", answers=True)
    assert outcomes.answers is not None
    found = []
    asked = outcomes.queries.select("split", "task", "text").rows()
    for row, (query, answers) in enumerate(zip(asked, outcomes.answers.iter_rows(), strict=True)):
        cells = [
            (name, outcomes.reward[row, column], outcomes.completion_tokens[row, column], answer)
            for column, (name, answer) in enumerate(zip(outcomes.candidates, answers, strict=True))
            if outcomes.mask[row, column]
        ]
        if cells:
            found.append((query, [tuple(map(repr, cell)) for cell in cells]))
    return sorted(found)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CELLS)
def test_what_comes_back_gives_the_same_rewards(
    imported: Any, exported: Any, tmp_path_factory: pytest.TempPathFactory, cells: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    table = pl.DataFrame(
        {
            "text": [text for text, *_ in cells],
            "task": [task for _, task, *_ in cells],
            "split": [split for _, _, split, *_ in cells],
            "a": pl.Series([scores[0] for *_, scores, _ in cells], dtype=pl.Float64),
            "b": pl.Series([scores[1] for *_, scores, _ in cells], dtype=pl.Float64),
            "tokens:a": pl.Series([tokens for *_, tokens in cells], dtype=pl.Int64),
            "answer:a": [f"because {number}" for number in range(len(cells))],
        }
    ).filter(pl.any_horizontal(pl.col("a", "b").is_not_null()))
    if table.is_empty():
        return
    table.write_parquet(folder / "toy.parquet")
    first = imported(folder / "toy.parquet", lake=str(folder / "first"))
    exported(first, form="llmrouter", output=folder / "out")
    second = imported(folder / "out", lake=str(folder / "second"), form="llmrouter")
    before, after = rewards(first), rewards(second)
    assert len(before) == table.height
    assert strip(after) == strip(before)


def strip(found: list[Any]) -> list[Any]:
    """Without the difference between no answer and an empty one, which the format has not."""
    empty = {repr(None): repr("")}
    return [
        (query, [(*cell[:-1], empty.get(cell[-1], cell[-1])) for cell in cells])
        for query, cells in found
    ]

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.importers.sprout import read


def cell(score: float | None, *, answer: str = "so", tokens: tuple[int, int] = (10, 20)) -> Any:
    return {
        "judge_response": "The answer is fine.",
        "num_input_tokens": tokens[0],
        "num_output_tokens": tokens[1],
        "response": answer,
        "score": score,
    }


def prompts(**more: Any) -> dict[str, list[Any]]:
    return {
        "key": ["k1", "k2"],
        "dataset": ["TIGER-Lab/MMLU-Pro", "math"],
        "dataset_level": ["", "Level 3"],
        "dataset_idx": [0, 1],
        "prompt": ["What is 2+2? \r\n", "Capital?"],
        "golden_answer": ["4", "Paris"],
        "openai-gpt-4o": [cell(1.0), cell(0.5, answer="Paris", tokens=(3, 1))],
        "wxai-llama-3-2-1b-instruct": [cell(0.0), None],
    } | more


def write(path: Path, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(prompts(**more), strict=False).write_parquet(path)
    return path


def test_structs_become_cells_with_answers_and_tokens(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.parquet")
    write(tmp_path / "data" / "train-00001-of-00002.parquet")
    write(tmp_path / "data" / "validation-00000-of-00001.parquet")
    table = read(str(tmp_path))
    own = table.rows.filter(pl.col("split") == "validation").drop("scorer", "weight", "cost_usd")
    small = "wxai-llama-3-2-1b-instruct"
    name, place = "TIGER-Lab/MMLU-Pro", ("validation",)
    assert sorted(own.rows()) == [
        (*place, name, "What is 2+2?", 0, "4", "openai-gpt-4o", 1.0, "so", 10.0, 20.0),
        (*place, name, "What is 2+2?", 0, "4", small, 0.0, "so", 10.0, 20.0),
        (*place, "math", "Capital?", 0, "Paris", "openai-gpt-4o", 0.5, "Paris", 3.0, 1.0),
    ]
    assert table.rows.filter(pl.col("split") == "train")["occurrence"].max() == 1
    assert table.rows["cost_usd"].null_count() == table.rows.height
    assert set(table.tags.select("text", "tag", "tagger").rows()) == {
        ("Capital?", "Level 3", "sprout-level")
    }


def test_a_missing_score_and_a_model_of_another_file(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", **{"openai-gpt-4o": [cell(None), cell(0.5)]})
    write(tmp_path / "test-0.parquet", **{"openai-o3-mini": [cell(1.0), cell(1.0)]})
    table = read(str(tmp_path))
    counts = {(row[1], row[2]): row[3] for row in table.counts().rows() if row[0] == "math"}
    assert counts["train", "openai-gpt-4o"] == 1
    assert ("train", "openai-o3-mini") not in counts
    assert counts["test", "openai-o3-mini"] == 1
    assert table.rows.filter(candidate="openai-gpt-4o", split="train")["task"].to_list() == ["math"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"prompt": ["x", None]},
            "row 2, field 'prompt': expected the query's text, found nothing",
        ),
        (
            {"openai-gpt-4o": [cell(1.0), cell(float("nan"))]},
            r"row 2, field 'openai-gpt-4o\.score': expected a finite number",
        ),
        (
            {"openai-gpt-4o": [{"response": "so"}, {"response": "so"}]},
            "field 'openai-gpt-4o': a struct without 'score', found response",
        ),
        ({"golden_answer": [["4"], ["5"]]}, "field 'golden_answer': expected text or a number"),
    ],
)
def test_bad_input_is_named(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "test-0.parquet", **more)
    with pytest.raises(InputError, match=message) as told:
        read(str(path))
    assert str(path) in str(told.value)


def test_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("prompt,dataset,gpt\nx,t,1\n")
    with pytest.raises(InputError, match="no model's column; expected for each model a struct"):
        read(str(path))

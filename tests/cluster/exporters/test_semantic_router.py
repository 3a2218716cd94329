import json
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import COMPLETIONS


def records(made: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in made.files[""].decode().splitlines()]


def test_train_and_validation_alone_unless_others_are_named(lake: Lake, exported: Any) -> None:
    made = exported(lake, form="semantic_router")
    assert {record["query"] for record in records(made)} == {"one plus one", "name a bone"}
    named = exported(lake, form="semantic_router", splits=("test",))
    assert {record["query"] for record in records(named)} == {"two plus two"}


def test_a_record_says_what_is_known(lake: Lake, exported: Any) -> None:
    made = exported(lake, form="semantic_router", splits=("train", "calibration"))
    small = {record["query"]: record for record in records(made) if record["model_name"] == "small"}
    assert small["one plus one"] == {
        "query": "one plus one",
        "category": "math",
        "model_name": "small",
        "performance": 1.0,
        "response": "so one plus one",
        "ground_truth": "4",
        "task_name": "math",
    }
    assert small["name a bone"]["category"] == "computer science"
    assert small["rhyme on four"]["category"] == "other"
    assert made.told == {"tasks_as_other": ["poems"]}
    assert all(None not in record.values() for record in records(made))


def test_response_times_are_seconds(lake: Lake, exported: Any) -> None:
    outcomes = read_outcomes(lake, dataset="toy", scorer="")
    column = outcomes.candidates.index("large")
    asked = outcomes.queries.filter(text="one plus one")["query_id"].to_list() * 2
    answers = pl.DataFrame(
        {
            "query_id": asked,
            "candidate_id": [outcomes.candidate_ids[column]] * 2,
            "sample": [0, 1],
            "seconds": [1.0, 2.0],
            "outcome": ["ok", "truncated"],
        }
    )
    missing = [pl.lit(None).alias(name) for name in COMPLETIONS.schema if name not in answers]
    rows = answers.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in COMPLETIONS.schema.items()
    )
    append_new(rows, lake=lake, table=COMPLETIONS)
    found = [
        record
        for record in records(exported(lake, form="semantic_router"))
        if "response_time" in record
    ]
    assert [(record["model_name"], record["response_time"]) for record in found] == [("large", 1.5)]


def test_a_dataset_is_needed(lake: Lake, exported: Any) -> None:
    with pytest.raises(InputError, match="--dataset: name the dataset"):
        exported(lake, form="semantic_router", dataset="")

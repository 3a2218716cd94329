"""`signalbox export`, as it is typed; nothing is started for it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.storage import Storage

RECORDS = ("--format", "semantic_router", "--dataset", "toy")


def fill(lake: str, *, folder: Path) -> str:
    """A lake with a dataset `toy`: 30 queries, two candidates, all splits."""
    draw = random.Random(0)
    splits = ("train", "validation", "calibration", "test", "train")
    rows = [
        {
            "text": f"what is {number} and {draw.randint(0, 99)}",
            "task": "math" if number % 2 else "rhymes",
            "split": splits[number % 5],
            "small": draw.random() < 0.5,
            "large": draw.random() < 0.8,
        }
        for number in range(30)
    ]
    path = folder / "toy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = ImportSpec(
        lake=lake, format="table", path=str(path), digest=path_digest(str(path)), dataset="toy"
    )
    import_table(spec, Run.of(spec))
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return fill(str(tmp_path / "lake"), folder=tmp_path)


def test_a_training_set_is_written_without_a_server(told: Any, lake: str, tmp_path: Path) -> None:
    words = ("export", "--format", "llmrouter", "--dataset", "toy", "--lake", lake)
    result = told(*words, "--output", "out")
    manifest = result.manifest
    assert sorted(manifest["outputs"]) == sorted(str(file) for file in (tmp_path / "out").iterdir())
    rows = manifest["rows"]
    # A tenth of imported train is validation, by the texts' hashes.
    assert rows["query_data_train.jsonl"] + rows["query_data_validation.jsonl"] == 18
    assert rows["routing_test_data.jsonl"] == 12
    assert manifest["candidates"] == ["large", "small"]
    assert "query_data_train.jsonl" in result.err
    # What is there stays as it is without a word from the user.
    before = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    told(*words, "--output", "out", "--splits", "train").refused("is there already", "--overwrite")
    assert {file: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert told(*words, "--output", "out", "--splits", "train", "--overwrite").status == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "routing_train_data.jsonl",
        "query_data_train.jsonl",
        "default_llm.json",
    }


def test_records_of_the_splits_that_are_named(told: Any, lake: str, tmp_path: Path) -> None:
    result = told(
        *("export", "--format", "semantic_router", "--dataset", "toy", "--lake", lake),
        *("--output", "deep/records.jsonl", "--splits", "test,calibration"),
    )
    lines = (tmp_path / "deep" / "records.jsonl").read_text().splitlines()
    assert result.manifest["rows"] == {"records.jsonl": len(lines)} == {"records.jsonl": 24}
    assert result.manifest["tasks_as_other"] == ["rhymes"]


def test_an_export_to_s3(told: Any, s3_root: str, tmp_path: Path) -> None:
    lake = fill(f"{s3_root}/lake", folder=tmp_path)
    output = f"{s3_root}/out/records.jsonl"
    words = ("--format", "semantic_router", "--dataset", "toy", "--lake", lake, "--output", output)
    assert told("export", *words).manifest["outputs"] == [output]
    assert Storage.at(output).read_bytes(output).count(b"\n") == 36
    told("export", *words).refused(output, "is there already")


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        (("--format", "nope"), ("--format 'nope'", "'llmrouter'", "'routerarena'")),
        (("--format", "llmrouter"), ("--dataset: name the dataset",)),
        (("--format", "llmrouter", "--dataset", "x"), ("dataset 'x' is not in", "toy")),
        ((*RECORDS, "--scorer", "f1"), ("no rewards of scorer 'f1'", "accuracy")),
        (("--format", "routerarena"), ("--queries: name RouterArena's query file",)),
        (
            ("--format", "routerarena", "--queries", "toy.jsonl"),
            ("there is no champion", "registry promote"),
        ),
        ((*RECORDS, "--lake", "absent"), ("there is no lake",)),
        (
            ("--format", "llmrouter", "--dataset", "toy", "--output", "toy.jsonl"),
            ("toy.jsonl is a file, not a folder",),
        ),
        ((*RECORDS, "--output", "lake"), ("is a folder, and a file is to be written",)),
        ((*RECORDS, "--prices", "absent.yaml"), ("absent.yaml",)),
    ],
)
def test_bad_flags_are_told_at_once(
    told: Any, lake: str, tmp_path: Path, flags: Any, refusal: Any
) -> None:
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    every = {"--lake": lake, "--output": "out"} | given
    before = sorted(tmp_path.iterdir())
    result = told("export", *(word for pair in every.items() for word in pair))
    result.refused(*refusal, status=2 if "nope" in flags else 1)
    assert sorted(tmp_path.iterdir()) == before


def test_a_prediction_file_of_the_champion(told: Any, toy: Any, tmp_path: Path) -> None:
    queries = [
        {"global index": f"T_{number}", "prompt_formatted": text}
        for number, text in enumerate(["what is 3 plus 4", "spell backwards the word item1"])
    ]
    (tmp_path / "router_data.json").write_text(json.dumps(queries))
    result = told(
        *("export", "--format", "routerarena", "--queries", "router_data.json"),
        *("--output", "predictions/ours.json", "--lake", toy.lake),
    )
    found = json.loads((tmp_path / "predictions" / "ours.json").read_text())
    assert [entry["global index"] for entry in found] == ["T_0", "T_1"]
    assert {entry["prediction"] for entry in found} <= {"small", "medium", "large"}
    assert sum(result.manifest["shares"].values()) == 1

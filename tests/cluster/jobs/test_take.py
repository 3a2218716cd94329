"""The take job: files become queries, each once, and a bad one costs the others nothing."""

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.jobs.run import Run
from cluster.jobs.take import TakeSpec, take
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES, WATCHED
from cluster.nightly.watched import look


@pytest.fixture
def do(tmp_path: Path) -> Any:
    (tmp_path / "watch").mkdir()

    def run(**changes: Any) -> dict[str, Any]:
        files = look(str(tmp_path / "watch"), taken=set(), settle_seconds=0).new
        settings = {
            "lake": str(tmp_path / "lake"),
            "files": files,
            "dataset": "mine",
            "text_column": "text",
            "task_column": "task",
            "reference_column": "reference",
            "messages_column": "messages",
            "max_error_share": 0.5,
        }
        spec = TakeSpec(**(settings | changes))
        return take(spec, Run.of(spec))

    return run


def test_what_can_be_used_is_taken_and_the_rest_is_left_with_its_reason(
    do: Any, tmp_path: Path
) -> None:
    watch = tmp_path / "watch"
    (watch / "good.jsonl").write_text('{"text": "a", "task": "t"}\n{"text": "b"}\n{"text": ""}\n')
    (watch / "cut.jsonl").write_text('{"text": "c"}\n{"text": "d')
    (watch / "damaged.parquet").write_bytes(b"PAR1 and no more")
    (watch / "other.csv").write_text("question\nwhat?\n")
    manifest = do()
    [taken] = manifest["taken"]
    assert taken == {
        "uri": str(watch / "good.jsonl"), "rows": 3, "new_queries": 2, "broken": 1,
    }  # fmt: skip
    why = {Path(file["uri"]).name: file["why"] for file in manifest["left"]}
    assert set(why) == {"cut.jsonl", "damaged.parquet", "other.csv"}
    assert "cut off" in why["cut.jsonl"]
    assert "text" in why["other.csv"]
    lake = Lake.open(tmp_path / "lake")
    assert set(lake.read(QUERIES)["text"]) == {"a", "b"}
    assert lake.read(WATCHED)["uri"].to_list() == [str(watch / "good.jsonl")]


def test_a_last_line_without_its_end_is_whole_where_it_can_be_read(do: Any, tmp_path: Path) -> None:
    (tmp_path / "watch" / "a.jsonl").write_text('{"text": "c"}\n{"text": "d"}')
    assert do()["new_queries"] == 2


def test_a_file_that_grew_is_taken_again_for_what_is_new(do: Any, tmp_path: Path) -> None:
    file = tmp_path / "watch" / "a.jsonl"
    file.write_text('{"text": "c"}\n')
    assert do()["new_queries"] == 1
    file.write_text('{"text": "c"}\n{"text": "d"}\n')
    os.utime(file, (1, 1))
    assert do()["new_queries"] == 1
    noted = Lake.open(tmp_path / "lake").read(WATCHED)
    assert noted.select("new_queries", "dataset").rows() == [(1, "mine"), (1, "mine")]
    assert noted["stamp"].n_unique() == 2
    assert pl.Series(noted["digest"]).n_unique() == 2

"""Requests of a generate job, from one file or a folder of parts."""

from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.asked import Requests
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES


def part(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["query_id", "candidate_id", "predicted_usd"], orient="row")
    return frame.with_columns(
        text=pl.format("text {}", "query_id"), messages=pl.lit(None, pl.String)
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def written(lake: Lake, *parts: pl.DataFrame) -> str:
    folder = Path(lake.storage.join("runs", "r", "requests"))
    folder.mkdir(parents=True)
    for number, frame in enumerate(parts):
        frame.write_parquet(folder / f"{number:05d}.parquet")
    return str(folder)


def test_each_candidate_gets_its_own_part_by_part(lake: Lake) -> None:
    parts = part(("a", "x", 1.0), ("b", "y", 2.0)), part(("c", "y", 3.0)), part(("d", "x", 4.0))
    requests = Requests.at(written(lake, *parts), lake=lake)
    assert requests.names_who
    assert [rows["query_id"].to_list() for rows in requests.of("x")] == [["a"], ["d"]]
    assert (requests.count("x"), requests.count("y"), requests.count("z")) == (2, 2, 0)
    assert requests.expected() == {"x": 5.0, "y": 5.0}


def test_a_file_without_names_is_for_everybody(lake: Lake) -> None:
    uri = written(lake, part(("a", "x", None), ("a", "x", None)).drop("candidate_id"))
    requests = Requests.at(f"{uri}/00000.parquet", lake=lake)
    assert not requests.names_who
    assert requests.count("anybody") == 1
    assert [rows.columns for rows in requests.of("anybody")] == [["query_id", "text", "messages"]]


def test_what_is_expected_is_known_of_all_or_not_at_all(lake: Lake) -> None:
    requests = Requests.at(written(lake, part(("a", "x", 1.0)), part(("b", "y", None))), lake=lake)
    assert requests.expected() is None


def test_requests_that_are_gone_are_told_of(lake: Lake) -> None:
    with pytest.raises(
        InputError, match=r"requests are there; run the command again with --overwrite"
    ):
        Requests.at(lake.storage.join("runs", "gone"), lake=lake)


def test_where_references_are_wanted_a_query_without_one_is_asked_of_nobody(lake: Lake) -> None:
    references = {"a": "yes", "b": None, "c": " ", "d": "no"}
    rows = pl.DataFrame({"query_id": list(references), "reference": list(references.values())})
    named = rows.with_columns(dataset=pl.lit("routed"), text=pl.col("query_id"))
    append_new(QUERIES.conform(named).collect(), lake=lake, table=QUERIES)
    for referenced, expected in ((False, ["a", "b", "c", "d"]), (True, ["a", "d"])):
        requests = Requests.of_dataset(
            "routed", lake=lake, version=lake.version(QUERIES), referenced=referenced
        )
        [part] = requests.of("anybody")
        assert sorted(part["query_id"]) == expected

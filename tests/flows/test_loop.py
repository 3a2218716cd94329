"""The loop through the command line, with real Ray and a real Prefect server."""

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES

DEMO_MODEL = Path(__file__).parents[2] / "infra" / "demo" / "models" / "abacus"


def words_of_jobs(lake: Path) -> dict[Path, int]:
    """Every file a job has left of itself, with the time it was written; no job leaves none."""
    found = {file: file.stat().st_mtime_ns for file in lake.glob("runs/*/*") if file.is_file()}
    assert found
    return found


def routed(toy: Any, signalbox: Any, *flags: str) -> Any:
    return signalbox("route", "--lake", toy.lake, *flags)


def test_import_tells_what_it_brought(toy: Any) -> None:
    assert toy.imported["flow"] == "import"
    assert toy.imported["new_queries"] == 300
    assert set(toy.imported["candidates"]) == {"small", "medium", "large"}


def test_train_promotes_a_router_that_learned_the_tasks(toy: Any) -> None:
    promotion = toy.trained["promotion"]
    assert promotion["promoted"] is True
    versions = {router["method"]: router["version"] for router in toy.trained["routers"]}
    assert set(versions) == {"cluster_table", "knn"}
    assert promotion["version"] in versions.values()


def test_the_lake_and_the_registry_are_shown(toy: Any, told: Any) -> None:
    tables = told("lake", "--lake", toy.lake).manifest["tables"]
    assert {row["table"]: row["rows"] for row in tables}["queries"] == 300
    listed = told("registry", "list", "--lake", toy.lake).manifest["versions"]
    champions = [row["version"] for row in listed if row["alias"] == "champion"]
    assert champions == [toy.trained["promotion"]["version"]]
    shown = told("registry", "show", "--lake", toy.lake, "--router", champions[0][:10]).manifest
    assert shown["version"] == champions[0]
    assert {event["event"] for event in shown["events"]} == {"register", "promote"}


def test_a_promotion_by_hand_and_its_rollback(toy: Any, told: Any) -> None:
    first = toy.trained["promotion"]["version"]
    other = next(r["version"] for r in toy.trained["routers"] if r["version"] != first)
    where = ("--lake", toy.lake)
    promoted = told("registry", "promote", "--router", other, "--why", "by test", *where).manifest
    assert promoted == {"version": other, "promoted": True, "why": "by test", "parent": first}
    assert told("registry", "show", *where).manifest["version"] == other
    assert told("registry", "rollback", *where).manifest["champion"] == first
    assert told("registry", "show", *where).manifest["version"] == first


def test_a_move_of_which_no_server_hears_names_the_jobs_that_wait(
    toy: Any, signalbox: Any, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(toy.lake, lake)
    other = next(
        one["version"]
        for one in toy.trained["routers"]
        if one["version"] != toy.trained["promotion"]["version"]
    )
    moved = signalbox("registry", "promote", "--router", other, "--lake", lake, PREFECT_API_URL="")
    assert "nobody was told" not in moved.err
    (lake / "waiting").mkdir()
    (lake / "waiting" / "nightly.yaml").write_text("input: a.csv\noutput: b.csv\n")
    back = signalbox("registry", "rollback", "--lake", lake, PREFECT_API_URL="")
    assert back.manifest["taken_off"] == other
    assert f"nobody was told: no PREFECT_API_URL; jobs in {lake}/waiting are not" in back.err


def test_the_same_training_again_is_not_done_again(toy: Any, signalbox: Any) -> None:
    words = ("train", "--dataset", "toy", "--methods", "knn", "--lake", toy.lake)
    first = signalbox(*words).manifest
    before = words_of_jobs(toy.lake)
    assert signalbox(*words).manifest == first | {"done_before": True}
    assert words_of_jobs(toy.lake) == before


def test_evaluate_writes_its_numbers_and_the_picture(
    toy: Any, signalbox: Any, tmp_path: Path
) -> None:
    words = ("evaluate", "--dataset", "toy", "--methods", "cluster_table", "--routers", "champion")
    manifest = signalbox(*words, "--lake", toy.lake, "--output", "out", cwd=tmp_path).manifest
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"cluster_table", "champion", "oracle"} <= {row["method"] for row in rows}
    assert (tmp_path / "out" / "cost_quality.png").read_bytes().startswith(b"\x89PNG")
    assert set(manifest["outputs"]) == {str(file) for file in (tmp_path / "out").iterdir()}


def test_evaluate_without_a_test_row(signalbox: Any, tmp_path: Path) -> None:
    rows = [f"what is {number} plus {number},sum,train,1,0" for number in range(30)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["text,task,split,one,two", *rows]) + "\n")
    lake = ("--lake", tmp_path / "lake")
    assert signalbox("import", "--format", "table", "--path", table, *lake).status == 0
    result = signalbox("evaluate", "--dataset", "table", "--output", tmp_path / "out", *lake)
    result.refused("no query of split 'test'", "add queries, or import with --split test")
    assert not (tmp_path / "out").exists()


def test_routing_from_format_to_format(toy: Any, signalbox: Any, tmp_path: Path) -> None:
    """CSV → Parquet → JSON Lines → packed CSV: every row keeps what it had."""
    parquet, jsonl, packed = (tmp_path / name for name in ("a.parquet", "b.jsonl", "c.csv.gz"))
    first = routed(toy, signalbox, "--input", toy.table, "--output", parquet).manifest
    assert first["outputs"] == [str(parquet)]
    assert first["rows"] == 300
    table, one = pl.read_csv(toy.table, infer_schema=False), pl.read_parquet(parquet)
    assert one.select(table.columns).equals(table)
    shares = dict(one["candidate"].value_counts(normalize=True).iter_rows())
    assert shares == {name: share for name, share in first["shares"].items() if share}
    assert one["router"].unique().to_list() == [toy.trained["promotion"]["version"]]

    flags = ("--prefix", "b_", "--allowed", "small,large")
    assert (
        routed(toy, signalbox, "--input", parquet, "--output", jsonl, *flags).manifest["rows"]
        == 300
    )
    two = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert [row["text"] for row in two] == table["text"].to_list()
    assert {row["b_candidate"] for row in two} <= {"small", "large"}
    assert [row["candidate"] for row in two] == one["candidate"].to_list()

    flags = ("--prefix", "c_", "--router", first["router"])
    assert (
        routed(toy, signalbox, "--input", jsonl, "--output", packed, *flags).manifest["rows"] == 300
    )
    with gzip.open(packed, "rt", newline="") as stream:
        three = list(csv.DictReader(stream))
    assert [row["text"] for row in three] == table["text"].to_list()
    assert [row["c_candidate"] for row in three] == one["candidate"].to_list()


def test_the_same_routing_again_is_not_done_again(toy: Any, signalbox: Any, tmp_path: Path) -> None:
    """Asked for by flags the first time, by a YAML file the second."""
    output = tmp_path / "routed.parquet"
    first = routed(toy, signalbox, "--input", toy.table, "--output", output, "--prefix", "x_")
    before = (words_of_jobs(toy.lake), output.stat().st_mtime_ns)
    config = tmp_path / "route.yaml"
    config.write_text(
        f"input: {toy.table}\noutput: {output}\nprefix: y_\ntext-column: text\nlake: {toy.lake}\n"
    )
    again = signalbox("route", "--config", config, "--prefix", "x_")
    assert again.manifest == first.manifest | {"done_before": True}
    assert (words_of_jobs(toy.lake), output.stat().st_mtime_ns) == before


@pytest.fixture
def broken_file(tmp_path: Path) -> Path:
    """60 rows; two cannot be read, one has no text, and the last is the first again."""
    rows = [
        json.dumps({"text": f"what is {n} plus 2?", "reference": str(n + 2)}) for n in range(60)
    ]
    lines = [row.encode() for row in rows]
    lines[3] = b'{"text": "what is'
    lines[5] = b'{"text": "caf\xe9"}'
    lines[7] = b'{"reference": "9"}'
    lines[59] = lines[0]
    path = tmp_path / "broken.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_broken_rows_within_the_budget_are_put_aside(
    toy: Any, signalbox: Any, broken_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    manifest = routed(toy, signalbox, "--input", broken_file, "--output", output).manifest
    assert manifest["broken"] == 3
    assert manifest["rows"] == 57
    quarantine = [
        json.loads(line) for line in Path(manifest["quarantine"]).read_text().splitlines()
    ]
    assert [(row["file"], row["row"]) for row in quarantine] == [
        (str(broken_file), row) for row in (4, 6, 8)
    ]
    assert all(row["reason"] for row in quarantine)
    good = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert good == [f"what is {n} plus 2?" for n in [*set(range(59)) - {3, 5, 7}, 0]]


def test_broken_rows_beyond_the_budget_fail_and_leave_no_output(
    toy: Any, signalbox: Any, broken_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    flags = ("--input", broken_file, "--output", output, "--max-error-share", "0.01")
    result = routed(toy, signalbox, *flags)
    result.refused(
        "3 of 60 rows are broken",
        f"{broken_file} row 4: not valid JSON",
        "row 6: byte 0xe9",
        "row 8: field 'text' is missing",
        "quarantine.jsonl",
    )
    assert not output.exists()


def test_an_unknown_candidate_in_allowed(toy: Any, signalbox: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    flags = ("--input", toy.table, "--output", output, "--allowed", "huge")
    routed(toy, signalbox, *flags).refused("--allowed huge", "large, medium, small")
    assert not output.exists()


def test_a_folder_of_another_format_is_not_imported(signalbox: Any, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("text,one\nhow many?,1\n")
    lake = tmp_path / "lake"
    result = signalbox("import", "--format", "routerdc", "--path", table, "--lake", lake)
    result.refused(table)
    assert Lake.open(lake).read(QUERIES).is_empty()


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    """One real model, small enough to answer at once."""
    path = tmp_path / "candidates.yaml"
    path.write_text(
        f"name: abacus\nengine: transformers\nmodel: {DEMO_MODEL}\ndtype: float32\n"
        "sampling: {max_tokens: 4}\n"
    )
    return path


def test_collecting_a_file_with_broken_and_repeated_rows(
    signalbox: Any, broken_file: Path, candidates: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    words = ("collect", "--queries", broken_file, "--candidates", candidates, "--lake", lake)
    result = signalbox(*words)
    manifest = result.manifest
    assert manifest["ingest"]["broken"] == 3
    assert manifest["ingest"]["new_queries"] == 56
    assert f"{broken_file} row 60" in result.err
    assert Lake.open(lake).read(QUERIES)["text"].n_unique() == 56
    assert [row["generated"] for row in manifest["generate"]["candidates"]] == [56]


def test_collecting_too_many_broken_rows_leaves_the_lake_empty(
    signalbox: Any, broken_file: Path, candidates: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    words = ("collect", "--queries", broken_file, "--candidates", candidates, "--lake", lake)
    result = signalbox(*words, "--max-error-share", "0.01")
    result.refused("3 of 60 rows are broken", f"{broken_file} row 4", "quarantine.jsonl")
    assert Lake.open(lake).read(QUERIES).is_empty()

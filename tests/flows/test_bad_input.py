"""Bad input is told at once, before anything is started: place, what was expected, what to do."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.plugins import plugin_names

CANDIDATES = "- {name: one, engine: transformers, model: ./model}\n"
SCHEMA_VERSION_OF_TOMORROW = 99


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A good query file and a good candidate file in the folder the commands run in."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    (tmp_path / "candidates.yaml").write_text(CANDIDATES)
    (tmp_path / "queries.csv").write_text("question,task\nhow many?,count\n")
    (tmp_path / "queries.jsonl").write_text('{"question": "how many?", "task": "count"}\n')
    return tmp_path


@pytest.fixture
def collect(told: Any, files: Path) -> Callable[..., Any]:
    """`collect` on the good files, but for what is given; nothing may be left of it."""

    def run(**flags: str) -> Any:
        good = {
            "queries": "queries.csv",
            "candidates": "candidates.yaml",
            "text-column": "question",
            "lake": "lake",
        }
        words = [word for name, value in (good | flags).items() for word in (f"--{name}", value)]
        before = sorted(files.rglob("*"))
        result = told("collect", *words)
        assert sorted(files.rglob("*")) == before
        return result

    return run


@pytest.mark.parametrize("flag", ["scorers", "taggers"])
def test_a_plugin_that_nobody_installed(flag: str, collect: Any) -> None:
    known = [f"'{name}'" for name in plugin_names(flag)]
    collect(**{flag: "nope"}).refused(f"--{flag} 'nope'", *known, status=2)


def test_a_candidate_file_below_a_file(collect: Any) -> None:
    result = collect(candidates="candidates.yaml/x")
    result.refused("candidates.yaml/x", "cannot be read", "Not a directory")


def test_a_candidate_file_that_may_not_be_read(
    collect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_read(monkeypatch, name="candidates.yaml")
    collect().refused("candidates.yaml", "cannot be read", "Permission denied", "rights")


def refuse_to_read(monkeypatch: pytest.MonkeyPatch, *, name: str) -> None:
    """Root may read everything, so the system's refusal has to be made up."""
    opened = Path.open

    def refused(path: Path, *words: Any, **named: Any) -> Any:
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *words, **named)

    monkeypatch.setattr(Path, "open", refused)


def test_a_query_file_that_is_not_there(collect: Any, files: Path) -> None:
    collect(queries="nowhere.jsonl").refused(files / "nowhere.jsonl", "no such file", "check")


def test_a_query_file_of_an_unknown_kind(collect: Any, files: Path) -> None:
    (files / "queries.xlsx").write_bytes(b"PK")
    collect(queries="queries.xlsx").refused(files / "queries.xlsx", ".parquet", ".jsonl", ".csv")


@pytest.mark.parametrize("name", ["queries.csv", "queries.jsonl"])
def test_an_unknown_column(name: str, collect: Any, files: Path) -> None:
    result = collect(queries=name, **{"text-column": "questoin"})
    result.refused(files / name, "'questoin'", "did you mean 'question'?", "--text-column")


@pytest.mark.parametrize("name", ["empty.csv", "empty.jsonl", "empty.parquet"])
def test_an_empty_file(name: str, collect: Any, files: Path) -> None:
    (files / name).write_bytes(b"")
    collect(queries=name).refused(files / name, "empty")


def test_a_file_that_is_not_what_its_name_says(collect: Any, files: Path) -> None:
    (files / "text.parquet").write_text("question\nhow many?\n")
    collect(queries="text.parquet").refused(files / "text.parquet", "not Parquet")


def test_a_file_in_utf_16(collect: Any, files: Path) -> None:
    (files / "wide.csv").write_text("question\nhow many?\n", encoding="utf-16")
    collect(queries="wide.csv").refused(files / "wide.csv", "UTF-16", "save it as UTF-8")


def test_a_candidate_file_that_is_not_there(collect: Any) -> None:
    collect(candidates="nobody.yaml").refused("nobody.yaml", "no such file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CANDIDATES.replace("}", ", temprature: 1}"), ("candidate 1 ('one')", "'temprature'")),
        (CANDIDATES.replace("}", ", sampling: {max_token: 1}}"), ("did you mean 'max_tokens'?",)),
        (
            CANDIDATES.replace("./model", "./modle"),
            ("'one'", "field 'model'", "no folder", "modle"),
        ),
        (CANDIDATES.replace("./model", "some/model"), ("'one'", "'revision'")),
        (CANDIDATES.replace("transformers", "abacus"), ("'abacus'", "transformers")),
        (CANDIDATES + CANDIDATES, ("'one'", "same name")),
        ("- {name: one, engine: transformers}\n", ("'one'", "'model' is missing")),
        ("- name: one\n  engine: [\n", ("line 3", "broken YAML")),
        ("", ("no candidates",)),
    ],
)
def test_a_candidate_file_that_is_wrong(
    content: str, words: tuple[str, ...], collect: Any, files: Path
) -> None:
    (files / "wrong.yaml").write_text(content)
    collect(candidates="wrong.yaml").refused("wrong.yaml", *words)


def test_a_model_folder_without_a_model(collect: Any, files: Path) -> None:
    (files / "model" / "model.safetensors").unlink()
    collect().refused("candidates.yaml", "'one'", files / "model", "safetensors")


def test_a_ray_cluster_that_does_not_answer(collect: Any) -> None:
    address = "http://127.0.0.1:9"
    result = collect(**{"ray-address": address})
    result.refused(address, "no Ray cluster answers", "start it, or leave the Ray address out")


def test_a_lake_at_a_place_that_is_a_file(collect: Any, files: Path) -> None:
    collect(lake="queries.csv").refused(files / "queries.csv", "name another --lake")


def test_a_lake_at_an_address_of_another_kind(collect: Any) -> None:
    collect(lake="gs://bucket/lake").refused("gs://bucket/lake", "s3://")


@pytest.fixture
def dead_store(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    endpoint = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return endpoint


@pytest.mark.parametrize("flag", ["lake", "queries"])
def test_a_store_that_does_not_answer(flag: str, dead_store: str, collect: Any) -> None:
    result = collect(**{flag: "s3://bucket/prefix.csv"})
    result.refused("s3://bucket", dead_store, "cannot be reached", "check AWS_ENDPOINT_URL")


@pytest.mark.parametrize("flag", ["lake", "queries"])
def test_a_bucket_that_is_not_there(flag: str, s3_root: str, collect: Any) -> None:
    assert s3_root
    result = collect(**{flag: "s3://no-such-bucket/prefix.csv"})
    result.refused("s3://no-such-bucket", "'no-such-bucket'", "does not exist", "create it")


def test_an_object_that_is_not_there(s3_root: str, collect: Any) -> None:
    collect(queries=f"{s3_root}/queries.csv").refused(f"{s3_root}/queries.csv", "no such file")


@pytest.mark.parametrize("command", ["train", "evaluate --output out", "lake", "registry list"])
def test_a_lake_that_is_not_there(command: str, told: Any, tmp_path: Path) -> None:
    result = told(*command.split(), "--lake", "nowhere")
    result.refused(tmp_path / "nowhere", "no lake here", "--lake", "signalbox collect")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    ["train", "lake", "registry list", "import --format table --path queries.csv"],
)
def test_a_lake_of_a_newer_version(command: str, told: Any, files: Path) -> None:
    lake = files / "lake"
    lake.mkdir()
    marker = json.dumps({"schema_version": SCHEMA_VERSION_OF_TOMORROW})
    (lake / "lake.json").write_text(marker)
    result = told(*command.split(), "--lake", lake)
    result.refused(lake / "lake.json", SCHEMA_VERSION_OF_TOMORROW, "install a newer signalbox")
    assert [file.name for file in lake.iterdir()] == ["lake.json"]


def test_a_table_to_import_that_is_not_there(told: Any, tmp_path: Path) -> None:
    result = told("import", "--format", "table", "--path", "nowhere.csv", "--lake", "lake")
    result.refused("nowhere.csv", "no such file or folder", "--path")
    assert not (tmp_path / "lake").exists()


def test_an_unknown_import_format(told: Any, tmp_path: Path) -> None:
    result = told("import", "--format", "excel", "--path", "x", "--lake", "lake")
    result.refused("--format 'excel'", "routerdc", "table", status=2)
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("words", "told_words"),
    [
        (("trian",), ("no command 'trian'", "did you mean 'train'?")),
        (("registry",), ("no command 'registry'", "registry list")),
        (("collect", "--querys", "x"), ("--querys", "did you mean --queries?")),
        (("collect",), ("--candidates is missing",)),
        (("train", "--seed", "x"), ("--seed 'x'", "integer")),
    ],
)
def test_wrong_usage(words: tuple[str, ...], told_words: tuple[str, ...], told: Any) -> None:
    told(*words).refused(*told_words, status=2)


def test_verbose_shows_where_an_error_was_raised(told: Any, tmp_path: Path) -> None:
    result = told("train", "--lake", "nowhere", "--verbose")
    assert result.status == 1
    assert "Traceback" in result.err
    assert "cluster.errors.LakeError" in result.err
    assert f"error: {tmp_path / 'nowhere'}: there is no lake here" in result.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train --dataset nope", ("dataset 'nope'", "datasets there: toy")),
        ("train --dataset toy --scorer nope", ("scorer 'nope'", "accuracy", "--scorer")),
        ("train --dataset toy --prices nowhere.yaml", ("nowhere.yaml", "no such file")),
        ("train --dataset toy --methods mf --preferences toy", ("'toy' has no battles", "none")),
        ("train --dataset toy --judge me", ("--judge", "--preferences")),
        ("evaluate --dataset nope --output out", ("dataset 'nope'", "toy")),
        ("evaluate --dataset toy --train-dataset nope --output out", ("dataset 'nope'", "toy")),
        ("evaluate --dataset toy --routers nope --output out", ("'nope'", "newest")),
        ("registry show --router nope", ("no router version 'nope'", "newest")),
        ("registry promote --router nope", ("no router version 'nope'", "newest")),
        ("registry rollback", ("no champion to roll back to", "only")),
    ],
)
def test_names_that_are_not_in_the_lake(
    command: str, words: tuple[str, ...], told: Any, toy: Any, tmp_path: Path
) -> None:
    events = sorted((toy.lake / "registry").rglob("*"))
    told(*command.split(), "--lake", toy.lake).refused(*words)
    assert not (tmp_path / "out").exists()
    assert sorted((toy.lake / "registry").rglob("*")) == events


@pytest.fixture
def route(told: Any, toy: Any, tmp_path: Path) -> Callable[..., Any]:
    """`route` of the toy's table, but for what is given; no output may be left."""

    def run(*switches: str, **flags: str) -> Any:
        good = {"input": str(toy.table), "output": "routed.parquet", "lake": str(toy.lake)}
        words = [word for name, value in (good | flags).items() for word in (f"--{name}", value)]
        before = sorted(tmp_path.rglob("*"))
        result = told("route", *words, *switches)
        assert sorted(tmp_path.rglob("*")) == before
        return result

    return run


def test_routing_with_an_unknown_router(route: Any) -> None:
    route(router="nope").refused("no router version 'nope'", "newest")


def test_routing_an_unknown_column(route: Any, toy: Any) -> None:
    result = route(**{"text-column": "question"})
    result.refused(toy.table, "no column 'question'", "--text-column", "Columns: text, task")


def test_routing_a_file_that_is_not_there(route: Any, tmp_path: Path) -> None:
    route(input="nowhere.csv").refused(tmp_path / "nowhere.csv", "no such file")


def test_routing_onto_something_that_is_there(route: Any, tmp_path: Path) -> None:
    (tmp_path / "routed.parquet").write_text("mine")
    route().refused(tmp_path / "routed.parquet", "is there already", "--overwrite")
    assert (tmp_path / "routed.parquet").read_text() == "mine"


def test_routing_onto_the_input_or_among_files_of_others(
    route: Any, toy: Any, tmp_path: Path
) -> None:
    mine = tmp_path / "folder" / "part-mine.parquet"
    mine.parent.mkdir()
    mine.write_text("mine")
    route("--overwrite", output="folder").refused(mine, "is in the way", "--output")
    route("--overwrite", output=str(toy.table)).refused(toy.table, "never replaces its input")
    assert mine.read_text() == "mine"


def test_answers_onto_something_that_is_there(route: Any, tmp_path: Path) -> None:
    answers = tmp_path / "routed.answers.parquet"
    answers.write_text("mine")
    route(answer="3").refused(answers, "is there already", "--overwrite")
    assert answers.read_text() == "mine"


def test_answers_to_a_folder_onto_something_that_is_there(route: Any, tmp_path: Path) -> None:
    answers = tmp_path / "routed.answers.parquet"
    answers.write_text("mine")
    route(answer="3", output="routed").refused(answers, "is there already")


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.json", "out.txt", "s3://bucket/out.xlsx"])
def test_routing_into_a_file_of_an_unknown_kind(name: str, route: Any) -> None:
    route(output=name).refused(name, ".parquet", "a name without an extension is a folder")


@pytest.mark.parametrize("name", ["taken/out.csv", "taken/deep/out", "taken"])
def test_routing_below_a_file(name: str, route: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    route(output=name).refused(tmp_path / name, "taken is a file", "--output")


def test_routing_into_a_file_that_is_a_folder(route: Any, tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    route(output="out.csv").refused(tmp_path / "out.csv", "is a folder")


def test_routing_into_a_folder_that_is_not_writable(
    route: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so the system's answer is what has to be made up.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for name in ("out.csv", "deep/out"):
        route(output=name).refused(tmp_path / name, f"{tmp_path} is not writable", "permissions")


def test_routing_into_a_store_that_does_not_answer(route: Any, dead_store: str) -> None:
    route(output="s3://bucket/out.parquet").refused("s3://bucket", dead_store, "cannot be reached")


def test_routing_without_a_champion(told: Any, toy: Any, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(toy.lake, lake, ignore=shutil.ignore_patterns("registry", "runs"))
    result = told("route", "--input", toy.table, "--output", "out.parquet", "--lake", lake)
    result.refused(lake, "there is no champion", "signalbox registry promote --router", "--router")
    assert not (tmp_path / "out.parquet").exists()

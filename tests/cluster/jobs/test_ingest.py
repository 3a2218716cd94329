"""The ingest job, run by hand: every query once, and word of every row that did not become one."""

import json
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.ingest import IngestSpec, ingest, pin_files
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES

CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi", "name": "x"}]


@pytest.fixture
def do(tmp_path: Path):
    def run(pattern: str = "in.*", **changes) -> dict:
        settings = {
            "lake": str(tmp_path / "lake"),
            "files": pin_files(str(tmp_path / pattern)),
            "dataset": "mine",
            "text_column": "text",
            "task_column": "task",
            "reference_column": "reference",
            "messages_column": "messages",
            "max_error_share": 0.9,
        }
        spec = IngestSpec(**(settings | changes))
        return ingest(spec, Run.of(spec))

    return run


@pytest.fixture
def queries(tmp_path: Path):
    return lambda: Lake.open(tmp_path / "lake").read(QUERIES).sort("text")


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def counts(manifest: dict) -> dict:
    names = ("rows", "new_queries", "already_there", "repeated", "broken")
    return {name: manifest[name] for name in names}


def test_new_repeated_and_broken_rows_are_counted_apart(do, queries, tmp_path, caplog) -> None:
    rows = [
        {"text": "a", "task": "t"},
        {"text": " a\r\n", "task": "t"},
        {"text": "a"},
        {"text": ""},
    ]
    write(tmp_path / "in.jsonl", rows)
    expected = {"rows": 4, "new_queries": 2, "already_there": 0, "repeated": 1, "broken": 1}
    manifest = do()
    assert counts(manifest) == expected
    assert "in.jsonl row 2" in caplog.text
    assert pl.read_ndjson(manifest["quarantine"])["row"].to_list() == [4]
    assert set(queries().select("text", "task").rows()) == {("a", "t"), ("a", "")}
    assert counts(do()) == expected | {"new_queries": 0, "already_there": 2}
    assert "already" not in caplog.text
    assert queries().height == 2


def test_a_file_under_a_second_name_stays_in_the_first_and_that_is_said(
    do, queries, tmp_path, caplog
) -> None:
    write(tmp_path / "in.jsonl", [{"text": "a"}, {"text": "b"}])
    do()
    write(tmp_path / "in.jsonl", [{"text": "a"}, {"text": "b"}, {"text": "c"}])
    manifest = do(dataset="other")
    assert (manifest["new_queries"], manifest["already_there"]) == (1, 2)
    assert "2 queries are in the lake already under dataset 'mine'" in caplog.text
    assert queries()["dataset"].to_list() == ["mine", "mine", "other"]


def test_a_corrected_reference_is_not_taken_and_that_is_said(do, queries, tmp_path, caplog) -> None:
    write(tmp_path / "in.jsonl", [{"text": "a", "reference": "1"}, {"text": "b", "reference": "2"}])
    do()
    write(tmp_path / "in.jsonl", [{"text": "a", "reference": "9"}, {"text": "b", "reference": "2"}])
    assert do()["already_there"] == 2
    assert "1 queries are in the lake already with another reference" in caplog.text
    assert queries()["reference"].to_list() == ["1", "2"]


def test_chats_of_every_format_are_kept_as_json(do, queries, tmp_path) -> None:
    write(tmp_path / "in.jsonl", [{"text": "a", "messages": CHAT}, {"text": "b", "messages": None}])
    plain = [{"role": one["role"], "content": one["content"]} for one in CHAT]
    pl.DataFrame({"text": ["c"], "messages": [plain]}).write_parquet(tmp_path / "in.parquet")
    chats = {"text": ["d", "e"], "messages": [json.dumps(CHAT), " "]}
    pl.DataFrame(chats).write_csv(tmp_path / "in.csv")
    assert do()["broken"] == 0
    found = [chat and json.loads(chat) for chat in queries()["messages"]]
    assert found == [CHAT, None, plain, CHAT, None]


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ("hello", "Invalid JSON"),
        ({"role": "user", "content": "hi"}, "valid array"),
        ([], "at least 1 item"),
        (["hi"], "message 1"),
        ([CHAT[0], {"role": "user"}], "message 2, content"),
        ([{"role": 1, "content": "hi"}], "message 1, role"),
        ([{"role": "user", "content": [{"type": "text"}]}], "message 1, content"),
    ],
)
def test_a_row_whose_chat_is_none_is_broken(do, queries, tmp_path, chat, reason) -> None:
    write(tmp_path / "in.jsonl", [{"text": "a", "messages": CHAT}, {"text": "b", "messages": chat}])
    manifest = do()
    assert (manifest["new_queries"], manifest["broken"]) == (1, 1)
    broken = pl.read_ndjson(manifest["quarantine"]).row(0, named=True)
    assert broken["row"] == 2
    assert broken["reason"].startswith("field 'messages' is not a chat")
    assert reason in broken["reason"]
    assert queries()["text"].to_list() == ["a"]


def test_broken_chats_count_against_the_budget_and_nothing_is_kept(do, queries, tmp_path) -> None:
    write(tmp_path / "in.jsonl", [{"text": "a"}, {"text": "b", "messages": "hello"}])
    with pytest.raises(InputError, match=r"row 2: field 'messages'"):
        do(max_error_share=0.05)
    assert queries().is_empty()


def test_the_chat_column_is_the_one_that_is_named(do, queries, tmp_path) -> None:
    write(tmp_path / "in.jsonl", [{"text": "a", "messages": "hello", "chat": CHAT}])
    assert do(messages_column="chat")["broken"] == 0
    assert json.loads(queries()["messages"][0]) == CHAT

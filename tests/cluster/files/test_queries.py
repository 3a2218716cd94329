"""Queries from texts, chats and OpenAI batch requests: good rows kept, others set aside."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.files.batch import MESSAGES, TEXT, Batch
from cluster.files.openai_batch import asked_in
from cluster.files.queries import (
    QueryColumn,
    recognised,
    refuse_mixture,
    with_queries,
    without_repeats,
)
from cluster.files.reader import read_batches, read_schema
from cluster.files.repeated import Seen
from cluster.files.source import find_files

CHATS = QueryColumn(kind="messages", column="chat")
REQUESTS = QueryColumn(kind="openai_batch")
HELLO = [{"role": "user", "content": "hello"}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def request(custom_id="a", **changes) -> dict:
    body = {"model": "any", "messages": HELLO, "temperature": 0.5}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return {key: value for key, value in (line | changes).items() if value is not ...}


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def batches_of(path: Path, queries: QueryColumn, *, rows_per_batch=1000) -> list[Batch]:
    [source] = find_files(str(path))
    schema = queries.check(read_schema(source))
    seen = Seen()
    found = read_batches(
        source,
        schema=schema,
        rows_per_batch=rows_per_batch,
        strict_text=queries.strict_text,
    )
    return [
        without_repeats(with_queries(batch, queries=queries), queries=queries, seen=seen)
        for batch in found
    ]


def read(path: Path, queries: QueryColumn, **options) -> Batch:
    found = batches_of(path, queries, **options)
    return replace(
        found[0],
        frame=pl.concat([batch.frame for batch in found]),
        broken=pl.concat([batch.broken for batch in found]),
    )


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(request(), JSON)), max_size=4))
def test_any_request_is_either_a_query_or_in_trouble(lines) -> None:
    rows = [
        {key: json.dumps(line[key]) if key in line else None for key in request()} for line in lines
    ]
    schema = pl.Schema(dict.fromkeys(request(), pl.String()))
    found = asked_in(pl.DataFrame(rows, schema=schema))
    assert found.height == len(lines)
    assert found.select(pl.col("text").is_null() == pl.col("trouble").is_not_null())["text"].all()


@given(
    st.lists(st.text(min_size=1, max_size=3).filter(str.strip), unique=True),
    st.text(min_size=1).filter(str.strip),
)
def test_sound_requests_are_all_queries(ids, text) -> None:
    body = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}]}
    rows = [request(name, body=json.dumps(body)) for name in ids]
    found = asked_in(pl.DataFrame(rows, schema=dict.fromkeys(request(), pl.String)))
    assert found["text"].to_list() == [text] * len(ids)
    assert found["trouble"].null_count() == len(ids)


def test_broken_requests_are_set_aside_with_what_is_wrong(tmp_path) -> None:
    rows = [
        request("good"),
        request("good"),
        request(...),
        request(7),
        request(" "),
        request("m", method="GET"),
        request("u", url="/v1/embeddings"),
        request("b", body="text"),
        request("n", body=...),
        request("l", body={"messages": "hi"}),
        request("p", body={"messages": [{"role": "system", "content": "be kind"}]}),
        request("q", body={"prompt": ["a"]}, url="/v1/completions"),
        request("fine", body={"prompt": "once upon"}, url="/v1/completions"),
    ]
    found = read(jsonl(tmp_path / "in.jsonl", rows), REQUESTS)
    assert found.frame["custom_id"].to_list() == ["good", "fine"]
    assert found.frame[TEXT].to_list() == ["hello", "once upon"]
    assert found.broken["row"].to_list() == list(range(2, 13))
    words = [
        "field 'custom_id' stands in an earlier row already",
        "field 'custom_id' is missing or null",
        "field 'custom_id' is a number, expected text",
        "field 'custom_id' is blank",
        "field 'method' is 'GET', expected 'POST'",
        "field 'url' is '/v1/embeddings'",
        "field 'body' is a text, expected list or object",
        "field 'body' is missing or null",
        "field 'body.messages' is not a list of messages",
        "field 'body.messages' has no message of role 'user'",
        "field 'body.prompt' is not a text",
    ]
    for reason, word in zip(found.broken["reason"], words, strict=True):
        assert word in reason


def test_the_body_stays_as_it_is(tmp_path) -> None:
    body = {"messages": HELLO, "tools": [{"type": "function"}], "stop": None, "n": 2}
    found = read(jsonl(tmp_path / "in.jsonl", [request(body=body)]), REQUESTS)
    assert json.loads(found.frame["body"][0]) == body
    assert "body" in found.json_columns


@pytest.mark.parametrize("rows_per_batch", [1, 2, 1000])
def test_a_repeated_id_is_found_wherever_the_batches_are_cut(tmp_path, rows_per_batch) -> None:
    rows = [request(name) for name in "abcaxbb"]
    found = read(jsonl(tmp_path / "in.jsonl", rows), REQUESTS, rows_per_batch=rows_per_batch)
    assert "".join(found.frame["custom_id"]) == "abcx"
    assert found.broken["row"].to_list() == [4, 6, 7]


def chats() -> list:
    return [
        HELLO,
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello\n"}],
        [{"role": "assistant", "content": "hello"}],
        None,
    ]


def written(path: Path, values: list) -> Path:
    if path.suffix == ".jsonl":
        return jsonl(path, [{"chat": value} for value in values])
    if path.suffix == ".csv":
        texts = [value and json.dumps(value) for value in values]
        pl.DataFrame({"chat": texts, "n": range(len(values))}).write_csv(path)
    else:
        pl.DataFrame({"chat": values}).write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.parquet"])
def test_a_column_of_chats_in_every_format(tmp_path, name) -> None:
    path = written(tmp_path / name, chats())
    found = read(path, CHATS)
    assert found.frame[TEXT].to_list() == ["hello", "hello\n"]
    assert found.frame[MESSAGES][0] is None
    assert json.loads(found.frame[MESSAGES][1]) == chats()[1]
    assert found.broken["row"].to_list() == [3, 4]
    assert "field 'chat' has no message of role 'user', expected" in found.broken["reason"][0]
    assert "field 'chat' is missing or null, expected a list" in found.broken["reason"][1]
    [source] = find_files(str(path))
    assert found.frame.schema["chat"] == read_schema(source).dtypes["chat"]


def test_a_column_that_is_no_chat_breaks_every_row(tmp_path) -> None:
    found = read(jsonl(tmp_path / "in.jsonl", [{"chat": "hello"}, {"chat": "[]"}]), CHATS)
    assert found.frame.is_empty()
    assert all("is not a list of messages" in reason for reason in found.broken["reason"])


@pytest.mark.parametrize(
    ("rows", "is_batch"),
    [
        ([request()], True),
        ([{"custom_id": "a", "text": "hello"}], False),
        ([{"text": "hello", "body": {}}], False),
    ],
)
def test_batch_files_are_recognised_by_their_first_lines(tmp_path, rows, is_batch) -> None:
    [source] = find_files(str(jsonl(tmp_path / "in.jsonl", rows)))
    assert recognised(source) is is_batch


def test_batch_files_beside_others_are_refused() -> None:
    assert refuse_mixture({"a.jsonl": True, "b.jsonl": True})
    assert not refuse_mixture({"a.jsonl": False})
    with pytest.raises(InputError, match=r"a\.jsonl is an OpenAI batch file and b\.csv is not"):
        refuse_mixture({"a.jsonl": True, "b.csv": False})


def test_a_file_that_is_no_batch_file_says_what_is_missing(tmp_path) -> None:
    path = jsonl(tmp_path / "in.jsonl", [{"text": "hello"}])
    with pytest.raises(InputError, match=r"in\.jsonl: no field 'custom_id'.*--text-column"):
        read(path, REQUESTS)
    with pytest.raises(InputError, match=r"no column 'chat' \(--messages-column\)"):
        read(path, CHATS)

"""Who asks the same has the same identity, and a chat is more than its last turn."""

import json

import polars as pl
import pytest

from cluster.answers.asks import ASK_SCHEMA, asks_of
from cluster.files.batch import MESSAGES, TEXT
from cluster.files.queries import QueryColumn
from cluster.query import query_id

CHAT = QueryColumn(kind="messages", column="chat")


def turn(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def chats(*values: list | None, text: str = "go on") -> pl.DataFrame:
    messages = [value and json.dumps(value) for value in values]
    return pl.DataFrame({TEXT: [text] * len(values), MESSAGES: messages})


def test_a_text_is_the_query_that_collect_would_keep() -> None:
    found = asks_of(
        pl.DataFrame({"q": [" cafe\u0301\r\n", "café"]}), queries=QueryColumn(column="q")
    )
    assert found.schema == ASK_SCHEMA
    assert found["text"].to_list() == ["café", "café"]
    assert found["query_id"].to_list() == [query_id("café", task="")] * 2
    assert found["messages"].null_count() == 2


def test_a_chat_of_one_turn_is_that_text() -> None:
    assert asks_of(chats(None), queries=CHAT).row(0) == (query_id("go on", task=""), "go on", None)


@pytest.mark.parametrize("before", [[], [turn("system", "b")], [turn("user", "a")]])
def test_chats_that_end_alike_are_different_queries(before: list) -> None:
    one = [turn("system", "a"), turn("user", "go on")]
    found = asks_of(chats(one, one, [*before, turn("user", "go on")]), queries=CHAT)
    assert found["query_id"][0] == found["query_id"][1] != found["query_id"][2]


def test_a_candidate_without_chats_is_asked_with_all_that_was_said() -> None:
    chat = [turn("user", "name a tree"), turn("assistant", "oak"), turn("user", "go on")]
    found = asks_of(chats(chat), queries=CHAT)
    assert found["text"][0] == "user: name a tree\n\nassistant: oak\n\nuser: go on"
    assert json.loads(found["messages"][0]) == chat

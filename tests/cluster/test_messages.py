"""What a chat asks for: its last user turn, and the conversation that leads to it."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.messages import asked_by, read_chat, transcript

ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
TEXTS = st.text(min_size=1).filter(str.strip)
TURNS = st.fixed_dictionaries({"role": ROLES, "content": TEXTS}, optional={"name": st.text()})


def user(content) -> dict:
    return {"role": "user", "content": content}


def text_piece(text) -> dict:
    return {"type": "text", "text": text}


@given(before=st.lists(TURNS), last=TEXTS, after=st.lists(TURNS))
def test_the_last_user_turn_is_the_query_and_the_whole_chat_is_asked(before, last, after) -> None:
    after = [turn for turn in after if turn["role"] != "user"]
    chat = [*before, user(last), *after]
    found = read_chat(json.dumps(chat))
    assert found.trouble is None
    assert found.text == last
    assert found.characters == sum(len(turn["content"]) for turn in chat)
    if len(chat) > 1:
        assert json.loads(found.messages) == chat
    else:
        assert found.messages is None


@given(pieces=st.lists(TEXTS, min_size=1), before=st.lists(TURNS))
def test_pieces_that_are_texts_are_the_same_as_one_text(pieces, before) -> None:
    cut = read_chat(json.dumps([*before, user([text_piece(text) for text in pieces])]))
    assert cut == read_chat(json.dumps([*before, user("\n".join(pieces))]))


@given(st.text() | st.from_type(type(None)) | st.lists(TURNS.filter(lambda t: t["role"] != "user")))
def test_no_user_turn_is_trouble_and_never_an_exception(value) -> None:
    found = read_chat(value if isinstance(value, str) else json.dumps(value))
    assert found.trouble
    assert (found.text, found.messages, found.characters) == (None, None, None)


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        ([], "at least 1 item"),
        ([user(None)], "has no text"),
        ([user(" \n")], "has no text"),
        ([user([{"type": "image_url", "image_url": {"url": "x"}}])], "has no text"),
        ([{"content": "hi"}], "message 1, role, Field required"),
        ([user("hi"), user(3)], "message 2, content"),
        ("hi", "is not a list of messages"),
    ],
)
def test_trouble_names_the_message_and_what_is_wrong(chat, words) -> None:
    assert words in read_chat(json.dumps(chat)).trouble


def test_what_is_no_text_stays_in_the_chat_and_does_not_hide_the_text() -> None:
    pieces = [text_piece("what is this?"), {"type": "image_url", "image_url": {"url": "x"}}]
    found = read_chat(json.dumps([user(pieces)]))
    assert found.text == "what is this?"
    assert json.loads(found.messages) == [user(pieces)]


def test_a_missing_chat_is_trouble_of_its_row_alone() -> None:
    found = asked_by(pl.Series([None, json.dumps([user("hi")])], dtype=pl.String))
    assert found["text"].to_list() == [None, "hi"]
    assert found["trouble"].to_list() == ["is missing or null", None]


def test_a_transcript_tells_who_said_what() -> None:
    chat = [user("hi"), {"role": "assistant", "content": None}, user([text_piece("go on")])]
    assert transcript(chat) == "user: hi\n\nassistant: \n\nuser: go on"

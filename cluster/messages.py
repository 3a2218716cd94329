"""A query's chat: the messages that lead to it, kept as JSON text."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class Message(BaseModel):
    """One turn of a chat; other fields, such as `name`, are left to the chat template.

    Attributes:
        role: who speaks: system, user, assistant, or what else the template knows.
        content: what is said.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    role: str
    content: str


class _Piece(BaseModel):
    """A part of what is said: a text, or something else such as an image."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    type: str
    text: str | None = None


class _Turn(BaseModel):
    """One turn as OpenAI's API takes it: its content may come in pieces, or be left out."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    role: str
    content: str | list[_Piece] | None = None


class Asked(NamedTuple):
    """What a chat asks for.

    Attributes:
        text: what its last user turn says; null with `trouble`.
        messages: the chat as a candidate is asked with it, JSON; null where it is that one turn
            alone, and with `trouble`.
        characters: of all that is said in it; null with `trouble`.
        trouble: why it cannot be used, or null.
    """

    text: str | None = None
    messages: str | None = None
    characters: int | None = None
    trouble: str | None = None


ASKED_SCHEMA = pl.Schema(
    {
        "text": pl.String(),
        "messages": pl.String(),
        "characters": pl.Int64(),
        "trouble": pl.String(),
    }
)
_CHAT = TypeAdapter(Annotated[list[Message], Field(min_length=1)])
_TURNS = TypeAdapter(Annotated[list[_Turn], Field(min_length=1)])


def chat_trouble(chats: pl.Series) -> pl.Series:
    """(n_queries,) why a chat cannot be used; null where it can, or where there is none."""
    return chats.map_elements(_trouble, return_dtype=pl.String, skip_nulls=True)


def asked_by(chats: pl.Series) -> pl.DataFrame:
    """(n_queries, `ASKED_SCHEMA`): what chats, each a JSON text or null, ask for."""
    found = [Asked(trouble="is missing or null") if c is None else read_chat(c) for c in chats]
    return pl.DataFrame(found, schema=ASKED_SCHEMA, orient="row")


def read_chat(chat: str) -> Asked:
    """What one chat (JSON) asks for."""
    try:
        turns = _TURNS.validate_json(chat)
    except ValidationError as error:
        return Asked(trouble=f"is not a list of messages ({told(error)})")
    return asked(turn.model_dump(exclude_none=True) for turn in turns)


def asked(turns: Iterable[Mapping[str, Any]]) -> Asked:
    """What checked turns ask for; pieces that are all texts become one, with line ends between."""
    plain = [dict(turn) | {"content": _joined(turn.get("content"))} for turn in turns]
    users = [turn for turn in plain if turn["role"] == "user"]
    if not users:
        return Asked(trouble="has no message of role 'user'")
    text = _text_in(users[-1]["content"])
    if not text.strip():
        return Asked(trouble="has no text in its last message of role 'user'")
    is_alone = len(plain) == 1 and plain[0] == {"role": "user", "content": text}
    characters = sum(len(_text_in(turn["content"])) for turn in plain)
    chat = None if is_alone else json.dumps(plain, ensure_ascii=False)
    return Asked(text, chat, characters)


def transcript(messages: Sequence[Mapping[str, Any]]) -> str:
    """A chat as one text, for a candidate that knows no chats: `role: content`, a blank line."""
    return "\n\n".join(f"{turn['role']}: {_text_in(turn.get('content'))}" for turn in messages)


def _joined(content: Any) -> Any:
    if isinstance(content, list) and all(piece["type"] == "text" for piece in content):
        return _text_in(content)
    return content


def _text_in(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(piece.get("text") or "" for piece in content if piece["type"] == "text")
    return content or ""


def _trouble(chat: str) -> str | None:
    try:
        _CHAT.validate_json(chat)
    except ValidationError as error:
        return told(error)
    return None


def told(error: ValidationError) -> str:
    """The first thing that is wrong, with its message counted from 1."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = [f"message {part + 1}" if isinstance(part, int) else part for part in first["loc"]]
    return ", ".join([*place, first["msg"]])

"""A query's chat: the messages that lead to it, kept as JSON text."""

from typing import Annotated

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


_CHAT = TypeAdapter(Annotated[list[Message], Field(min_length=1)])


def chat_trouble(chats: pl.Series) -> pl.Series:
    """(n_queries,) why a chat cannot be used; null where it can, or where there is none."""
    return chats.map_elements(_trouble, return_dtype=pl.String, skip_nulls=True)


def _trouble(chat: str) -> str | None:
    try:
        _CHAT.validate_json(chat)
    except ValidationError as error:
        return _told(error)
    return None


def _told(error: ValidationError) -> str:
    """The first thing that is wrong, with its message counted from 1."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = [f"message {part + 1}" if isinstance(part, int) else part for part in first["loc"]]
    return ", ".join([*place, first["msg"]])

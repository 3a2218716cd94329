"""OpenAI batch files: one request a line, {custom_id, method, url, body}, as JSON Lines.

https://platform.openai.com/docs/guides/batch says what a line is; `vllm run-batch` reads the same.
"""

import json
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cluster.errors import InputError
from cluster.files import jsonl
from cluster.files.schema import FileSchema
from cluster.files.source import SourceFile
from cluster.messages import ASKED_SCHEMA, Asked, read_chat, told

CUSTOM_ID = "custom_id"
BODY = "body"
CHAT_URL = "/v1/chat/completions"
TEXT_URL = "/v1/completions"
# What the first line must have to be taken for a batch request without being told.
_TELLING = {CUSTOM_ID, "url", BODY}


class _Body(BaseModel):
    """Of a request, what is looked at."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    messages: Any = None
    prompt: Any = None


_BODY = TypeAdapter(_Body)


def is_batch(source: SourceFile) -> bool:
    """Whether the lines at the file's beginning look like requests; reads no more than these."""
    return jsonl.first_columns(source) >= _TELLING


def required(schema: FileSchema) -> FileSchema:
    """The schema with `body` as objects in all rows.

    Raises:
        InputError: a column of a batch file is missing.
    """
    for name in (CUSTOM_ID, BODY):
        if name not in schema.dtypes:
            raise InputError(
                f"{schema.file}: no field '{name}', so it is not an OpenAI batch file; expected "
                "lines {custom_id, method, url, body}, or name the column of the query with "
                "--text-column"
            )
    nested = dict.fromkeys((*schema.json_columns, BODY))
    dtypes = dict(schema.dtypes) | {BODY: pl.String()}
    return FileSchema(schema.file, pl.Schema(dtypes), tuple(nested))


def asked_in(requests: pl.DataFrame) -> pl.DataFrame:
    """(n_requests, `ASKED_SCHEMA`): what requests (`custom_id`, `body` as JSON, maybe `method` and
    `url`) ask for; for a completion's prompt the chat of that one turn."""
    texts = pl.String()
    known = requests.with_columns(
        pl.lit(default, dtype=texts).alias(name)
        for name, default in (("method", "POST"), ("url", CHAT_URL))
        if name not in requests.columns
    )
    rows = known.select(CUSTOM_ID, "method", "url", BODY).cast(texts).iter_rows()
    found = [_asked(one, method=method, url=url, body=body) for one, method, url, body in rows]
    return pl.DataFrame(found, schema=ASKED_SCHEMA, orient="row")


def _asked(
    custom_id: str | None, *, method: str | None, url: str | None, body: str | None
) -> Asked:
    trouble = _misaddressed(custom_id, method=method, url=url)
    if trouble is not None or body is None:
        return Asked(trouble=trouble or f"field '{BODY}' is missing or null, expected an object")
    try:
        found = _BODY.validate_json(body)
    except ValidationError as error:
        return Asked(trouble=f"field '{BODY}' is not an object ({told(error)})")
    if url == TEXT_URL:
        return _prompted(found.prompt)
    if found.messages is None:
        return Asked(trouble=f"field '{BODY}.messages' is missing or null, expected a list")
    chat = read_chat(json.dumps(found.messages))
    return chat._replace(trouble=chat.trouble and f"field '{BODY}.messages' {chat.trouble}")


def _misaddressed(custom_id: str | None, *, method: str | None, url: str | None) -> str | None:
    """What is wrong with a request around its body, or None."""
    if custom_id is None or not custom_id.strip():
        what = "is missing or null" if custom_id is None else "is blank"
        return f"field '{CUSTOM_ID}' {what}, expected a text of its own"
    if method != "POST":
        return f"field 'method' is {_shown(method)}, expected 'POST'"
    if url not in (CHAT_URL, TEXT_URL):
        return f"field 'url' is {_shown(url)}, expected {CHAT_URL} or {TEXT_URL}"
    return None


def _prompted(prompt: Any) -> Asked:
    if not isinstance(prompt, str) or not prompt.strip():
        return Asked(trouble=f"field '{BODY}.prompt' is not a text, expected one")
    return Asked(prompt, characters=len(prompt))


def _shown(value: str | None) -> str:
    return "missing" if value is None else f"'{value}'"

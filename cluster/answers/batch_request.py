"""Lines of OpenAI batch files: what a candidate is to be asked by another runner than ours.

An endpoint's candidate without a chat is asked for a completion. `vllm run-batch` knows chats
alone: a local one gets its prompt as a chat whose own template adds nothing to it, which vLLM
follows with --trust-request-chat-template.
"""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
from pydantic_core import from_json, to_json

from cluster.candidate import Candidate
from cluster.completion import seed_of
from cluster.engines.engine import Request
from cluster.engines.openai import request_body
from cluster.files.openai_batch import BODY, CHAT_URL, CUSTOM_ID, TEXT_URL

__all__ = ["BARE_TEMPLATE", "CUSTOM_ID", "lines_for", "readdressed_lines", "request_lines"]

BARE_TEMPLATE = "{{ messages[0]['content'] }}"
BARE_PROMPT: dict[str, Any] = {"chat_template": BARE_TEMPLATE, "add_special_tokens": True}
Served = Mapping[str, Candidate | None]
"""Candidates by name; None where nothing is known of one but its name, as of an imported one."""


def lines_for(rows: pl.DataFrame, *, served: Served) -> pl.DataFrame:
    """`candidate` and `line` of every row, candidate by candidate, each in the rows' order.

    Args:
        rows: `candidate` (a name), `custom_id`, and the rest of what `readdressed_lines` takes if
            there is a `body`, of what `request_lines` takes if there is none.
        served: the candidates named.
    """
    write = _readdressed if BODY in rows.columns else _requested
    found = []
    for (name,), own in rows.partition_by("candidate", as_dict=True).items():
        lines = write(own, name=str(name), candidate=served[str(name)])
        found.append(pl.DataFrame({"candidate": [name] * len(lines), "line": lines}))
    schema = {"candidate": pl.String(), "line": pl.Binary()}
    return pl.concat([pl.DataFrame(schema=schema), *found])


def request_lines(asks: pl.DataFrame, *, candidate: Candidate) -> list[bytes]:
    """(n_asks,) one line each, with its end.

    Args:
        asks: `custom_id`, `query_id`, `text`, `messages` (JSON or null).
        candidate: whose served name and sampling they get.
    """
    candidate_id = candidate.candidate_id
    lines = []
    for custom_id, query, text, chat in _asks(asks):
        seed = seed_of(query, candidate_id=candidate_id, sample=0)
        url, body = _asked(Request(query, text, messages=chat), candidate=candidate, seed=seed)
        lines.append(_line(custom_id, url=url, body=body))
    return lines


def readdressed_lines(requests: pl.DataFrame, *, model: str, as_chats: bool = False) -> list[bytes]:
    """(n_requests,) requests of a batch file with `body.model` replaced and nothing else.

    Args:
        requests: `custom_id`, `body` (JSON), and `url` where the file has it.
        model: what the candidate is served as.
        as_chats: whether a completion's prompt becomes a chat, as `vllm run-batch` needs it.
    """
    url = pl.col("url") if "url" in requests.columns else pl.lit(CHAT_URL).alias("url")
    lines = []
    for custom_id, place, content in requests.select(CUSTOM_ID, url, BODY).iter_rows():
        body = from_json(content) | {"model": model}
        if as_chats and place == TEXT_URL:
            lines.append(_line(custom_id, url=CHAT_URL, body=_as_chat(body)))
        else:
            lines.append(_line(custom_id, url=place, body=body))
    return lines


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a completion's request as that of a chat with the same prompt."""
    rest = {key: value for key, value in body.items() if key not in ("prompt", "logprobs")}
    if body.get("logprobs") is not None:
        rest |= {"logprobs": True, "top_logprobs": body["logprobs"]}
    return rest | {"messages": [{"role": "user", "content": body["prompt"]}]} | BARE_PROMPT


def _readdressed(requests: pl.DataFrame, *, name: str, candidate: Candidate | None) -> list[bytes]:
    if candidate is None:
        return readdressed_lines(requests, model=name)
    is_local = candidate.endpoint is None
    return readdressed_lines(requests, model=candidate.model, as_chats=is_local)


def _requested(asks: pl.DataFrame, *, name: str, candidate: Candidate | None) -> list[bytes]:
    if candidate is not None:
        return request_lines(asks, candidate=candidate)
    return [
        _line(
            custom_id,
            url=CHAT_URL,
            body={"model": name, "messages": chat or [{"role": "user", "content": text}]},
        )
        for custom_id, _, text, chat in _asks(asks)
    ]


def _asks(asks: pl.DataFrame) -> list[tuple[str, str, str, Any]]:
    """Id, query's id, text, and the chat or None of each."""
    rows = asks.select(CUSTOM_ID, "query_id", "text", "messages").iter_rows()
    return [(*row, tuple(json.loads(chat)) if chat else None) for *row, chat in rows]


def _asked(request: Request, *, candidate: Candidate, seed: int) -> tuple[str, dict[str, Any]]:
    if candidate.endpoint is not None:
        url = CHAT_URL if candidate.chat else TEXT_URL
        return url, request_body(request, candidate=candidate, seed=seed)
    bare: dict[str, Any] = {}
    if not candidate.chat:
        prompt = candidate.template.replace("{text}", request.text)
        request = Request(request.query_id, prompt)
        candidate = candidate.model_copy(update={"chat": True, "template": "{text}"})
        bare = BARE_PROMPT
    body = request_body(request, candidate=candidate, seed=seed)
    # As our engines do it, in one pass.
    longest = {"max_tokens": candidate.sampling.max_tokens + candidate.extend}
    return CHAT_URL, body | longest | bare


def _line(custom_id: str, *, url: str, body: dict[str, Any]) -> bytes:
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return to_json(request) + b"\n"

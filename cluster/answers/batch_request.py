"""Lines of OpenAI batch files: what a candidate is to be asked by another runner than ours.

An endpoint's candidate without a chat is asked for a completion. `vllm run-batch` knows chats
alone: a local one gets its prompt as a chat whose own template adds nothing to it, which vLLM
follows with --trust-request-chat-template.
"""

import json
from typing import Any

import polars as pl
from pydantic_core import from_json, to_json

from cluster.candidate import Candidate
from cluster.completion import seed_of
from cluster.engines.engine import Request
from cluster.engines.openai import request_body
from cluster.files.openai_batch import CHAT_URL, TEXT_URL

BARE_TEMPLATE = "{{ messages[0]['content'] }}"


def request_lines(asks: pl.DataFrame, *, candidate: Candidate) -> list[bytes]:
    """(n_asks,) one line each, with its end.

    Args:
        asks: `custom_id`, `query_id`, `text`, `messages` (JSON or null).
        candidate: whose served name and sampling they get.
    """
    candidate_id = candidate.candidate_id
    columns = asks.select("custom_id", "query_id", "text", "messages")
    lines = []
    for custom_id, query, text, messages in columns.iter_rows():
        chat = tuple(json.loads(messages)) if messages else None
        seed = seed_of(query, candidate_id=candidate_id, sample=0)
        url, body = _asked(Request(query, text, messages=chat), candidate=candidate, seed=seed)
        lines.append(_line(custom_id, url=url, body=body))
    return lines


def readdressed_lines(requests: pl.DataFrame, *, candidate: Candidate) -> list[bytes]:
    """(n_requests,) requests of a batch file with `body.model` replaced and nothing else.

    Args:
        requests: `custom_id`, `body` (JSON), and `url` where the file has it.
        candidate: whose served name they get.
    """
    url = pl.col("url") if "url" in requests.columns else pl.lit(CHAT_URL).alias("url")
    return [
        _line(custom_id, url=place, body=from_json(body) | {"model": candidate.model})
        for custom_id, place, body in requests.select("custom_id", url, "body").iter_rows()
    ]


def _asked(request: Request, *, candidate: Candidate, seed: int) -> tuple[str, dict[str, Any]]:
    if candidate.endpoint is not None:
        url = CHAT_URL if candidate.chat else TEXT_URL
        return url, request_body(request, candidate=candidate, seed=seed)
    bare = {}
    if not candidate.chat:
        prompt = candidate.template.replace("{text}", request.text)
        request = Request(request.query_id, prompt)
        candidate = candidate.model_copy(update={"chat": True, "template": "{text}"})
        bare = {"chat_template": BARE_TEMPLATE, "add_special_tokens": True}
    body = request_body(request, candidate=candidate, seed=seed)
    # As our engines do it, in one pass.
    longest = {"max_tokens": candidate.sampling.max_tokens + candidate.extend}
    return CHAT_URL, body | longest | bare


def _line(custom_id: str, *, url: str, body: dict[str, Any]) -> bytes:
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return to_json(request) + b"\n"

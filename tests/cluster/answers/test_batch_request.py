"""OpenAI batch files: what is in a line, and that vLLM's own runner answers it as our engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_params
from pydantic import TypeAdapter

from cluster.answers.asks import asks_of
from cluster.answers.batch_request import readdressed_lines, request_lines
from cluster.candidate import Candidate, resolve
from cluster.engines.engine import Request
from cluster.engines.transformers import TransformersEngine
from cluster.files.queries import QueryColumn

MODELS = Path(__file__).parents[3] / "infra" / "demo" / "models"
ENDPOINT = {"url": "http://127.0.0.1:9/v1"}
CHAT_BODY = TypeAdapter(chat_params.CompletionCreateParamsNonStreaming)
TEXT_BODY = TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming)
SAMPLING = {"temperature": 0.7, "max_tokens": 9, "stop": ["\n"], "top_p": 0.9}


def candidate(**fields) -> Candidate:
    settings = {"name": "c", "engine": "openai", "model": "served", "endpoint": ENDPOINT}
    return Candidate(**(settings | fields))


def asks(*texts: str) -> pl.DataFrame:
    found = asks_of(pl.DataFrame({"text": texts}), queries=QueryColumn())
    return found.with_columns(custom_id=pl.format("row-{}", pl.int_range(pl.len())))


def lines(frame: pl.DataFrame, one: Candidate) -> list[dict]:
    return [json.loads(line) for line in request_lines(frame, candidate=one)]


def test_a_chat_candidate_gets_messages_and_its_sampling() -> None:
    [line] = lines(asks("hi"), candidate(chat=True, system="be kind", sampling=SAMPLING))
    assert line["custom_id"] == "row-0"
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    body = line["body"]
    assert body["model"] == "served"
    assert [turn["content"] for turn in body["messages"]] == ["be kind", "hi"]
    assert {key: body[key] for key in SAMPLING} == SAMPLING
    assert isinstance(body["seed"], int)
    CHAT_BODY.validate_python(body)


def test_the_whole_chat_is_asked() -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    frame = asks("hi").with_columns(messages=pl.lit(json.dumps(chat)))
    [line] = lines(frame, candidate(chat=True))
    assert line["body"]["messages"] == chat


def test_an_endpoint_without_chats_gets_a_prompt() -> None:
    [line] = lines(asks("hi"), candidate(template="Q: {text}\nA:"))
    assert line["url"] == "/v1/completions"
    assert line["body"]["prompt"] == "Q: hi\nA:"
    assert "seed" not in line["body"]
    TEXT_BODY.validate_python(line["body"])


def test_a_schema_and_log_probabilities_are_asked_for_in_the_chats_own_words() -> None:
    sampling = {"json_schema": {"type": "object"}, "logprobs": 3}
    one = candidate(engine="vllm", endpoint=None, sampling=sampling, extend=100)
    [line] = lines(asks("hi"), one)
    body = line["body"]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert body["max_tokens"] == 612
    CHAT_BODY.validate_python(body)


def test_of_a_batch_request_the_model_alone_is_replaced() -> None:
    body = {"model": "any", "messages": [], "tools": [{"n": 1e300}], "user": None, "é": "日本"}
    rows = [("a", "/v1/chat/completions", json.dumps(body)), ("b", "/v1/completions", "{}")]
    frame = pl.DataFrame(rows, schema=["custom_id", "url", "body"], orient="row")
    one, other = map(json.loads, readdressed_lines(frame, model="served"))
    assert one["body"] == body | {"model": "served"}
    assert list(one["body"]) == list(body)
    assert (other["custom_id"], other["url"]) == ("b", "/v1/completions")
    assert other["body"] == {"model": "served"}
    [alone] = map(json.loads, readdressed_lines(frame[:1].drop("url"), model="served"))
    assert alone == one


@pytest.fixture
def abacus() -> Candidate:
    settings = {"engine": "transformers", "model": "abacus", "dtype": "float32", "endpoint": None}
    sampling = {"max_tokens": 16}
    one = candidate(**settings, template="{text}\nA:", sampling=sampling)
    return resolve(one, folder=MODELS)


def test_vllm_answers_a_written_file_as_our_engine_does(abacus: Candidate, tmp_path: Path) -> None:
    frame = asks(*(f"What is the sum of {n} and {9 - n}?" for n in range(8)))
    asked, answered = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    asked.write_bytes(b"".join(request_lines(frame, candidate=abacus)))
    command = [sys.executable, "-m", "vllm.entrypoints.openai.run_batch", "-i", asked]
    command += ["-o", answered, "--model", abacus.model, "--dtype", "float32", "--enforce-eager"]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--trust-request-chat-template"],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    replies = [json.loads(line) for line in answered.read_text().splitlines()]
    texts = {
        reply["custom_id"]: reply["response"]["body"]["choices"][0]["message"]["content"]
        for reply in replies
    }
    with TransformersEngine(abacus) as engine:
        own = engine.answer([Request(*row) for row in frame.select("query_id", "text").iter_rows()])
    assert texts == dict(zip(frame["custom_id"], own["text"], strict=True))

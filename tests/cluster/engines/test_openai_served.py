"""The openai engine against a real vLLM server."""

import json

import jsonschema
import polars as pl
import pytest

from cluster.candidate import Candidate
from cluster.engines.engine import Request
from cluster.engines.openai import OpenAIEngine
from cluster.errors import EngineError

from .conftest import CHAT_TEMPLATE, GREEDY, QUERIES, SAMPLED, SCHEMA, SERVED_KEY, STOP

KEY = ["query_id", "sample"]
ANSWER = [*KEY, "text", "finish_reason", "prompt_tokens", "completion_tokens", "outcome"]
ALL = [Request(f"q{i}", QUERIES[i], samples=(0, 1)) for i in range(64)]


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("SERVED_KEY", SERVED_KEY)


def answer(url: str, requests, **fields) -> pl.DataFrame:
    endpoint = {"url": url, "key_variable": "SERVED_KEY"}
    spec = {"name": "far", "engine": "openai", "model": "tiny", "endpoint": endpoint}
    with OpenAIEngine(Candidate.model_validate(spec | fields)) as engine:
        return engine.answer(requests)


def test_greedy_answers_are_those_of_the_engine_vllm(served, key, answers):
    table = answer(served, ALL, sampling=GREEDY)
    assert table.select(ANSWER).equals(answers["vllm-greedy-all"].select(ANSWER))
    assert table["served_model"].unique().to_list() == ["tiny"]
    assert table["seconds"].min() > 0


def test_stop_strings_extended_answers_and_first_tokens_are_those_of_the_engine_vllm(
    served, key, answers
):
    table, local = answer(served, ALL, sampling=STOP, extend=7), answers["vllm-stop-all"]
    same = [*KEY, "text", "finish_reason", "outcome"]
    assert table.select(same).equals(local.select(same))
    columns = (table["first_logprobs"], local["first_logprobs"])
    for far, near in zip(*(map(json.loads, column) for column in columns), strict=True):
        assert far == pytest.approx(near, abs=1e-3)
        assert len(far) == 5


def test_chats_are_those_of_the_engine_vllm(served, key, answers):
    assert "no bad words" in CHAT_TEMPLATE
    turns = [("user", "hi"), ("assistant", "yo"), ("user", "go")]
    messages = tuple({"role": role, "content": content} for role, content in turns)
    requests = [Request("q0", QUERIES[0]), Request("q1", "bad")]
    requests += [Request("q2", QUERIES[2], messages=messages)]
    table = answer(served, requests, sampling=GREEDY | {"logprobs": 3}, chat=True)
    local = answers["vllm-chat-all"]
    assert table["outcome"].to_list() == local["outcome"].to_list()
    good = [0, 2]
    assert table.select(ANSWER)[good].equals(local.select(ANSWER)[good])
    assert "no bad words" in table["error"][1]
    assert len(json.loads(table["first_logprobs"][2])) == 3


@pytest.mark.parametrize("chat", [False, True])
def test_samples_follow_their_seed_and_the_schema(served, key, chat):
    sampling = SAMPLED | {"json_schema": SCHEMA, "max_tokens": 64}
    requests = ALL[:8]
    table = answer(served, requests, sampling=sampling, chat=chat)
    again = answer(served, requests[::-1], sampling=sampling, chat=chat).sort(KEY)
    assert table.select(ANSWER).equals(again.select(ANSWER))
    assert table["text"].n_unique() > 1
    for text in table["text"]:
        jsonschema.validate(json.loads(text), SCHEMA)


def test_a_wrong_key_and_a_wrong_model_are_told(served, key, monkeypatch):
    with pytest.raises(EngineError, match=r"knows no model 'huge'.*`huge` does not exist"):
        answer(served, ALL[:2], model="huge")
    monkeypatch.setenv("SERVED_KEY", "planted-key-of-nobody")
    with pytest.raises(EngineError, match=r"does not accept the key in .* SERVED_KEY") as caught:
        answer(served, ALL[:2])
    assert "planted" not in str(caught.value)

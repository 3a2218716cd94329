"""The openai engine against endpoints that misbehave."""

import email.utils
import json
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.candidate import Candidate
from cluster.completion import COMPLETION_SCHEMA
from cluster.engines.engine import Request, StoppedError
from cluster.engines.openai import OpenAIEngine, request_body
from cluster.engines.openai_client import retry_after
from cluster.errors import EngineError

from .odd_endpoint import Odd, OddEndpoint, completion

KEY = "planted-key-3f9a77c2"
BIG = "0123456789abcdef" * (1 << 16)
SCRIPTS = "你好 👩‍🚀 مرحبا नमस्ते \u0000 ﬁn"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("GATEWAY_KEY", KEY)


def candidate(url: str, *, sampling=None, endpoint=None, **fields) -> Candidate:
    spec = {
        "name": "far",
        "engine": "openai",
        "model": "m",
        "sampling": {"max_tokens": 8} | (sampling or {}),
        "endpoint": {"url": url, "key_variable": "GATEWAY_KEY", "retries": 0} | (endpoint or {}),
    }
    return Candidate.model_validate(spec | fields)


def ask(url: str, texts, **fields) -> pl.DataFrame:
    with OpenAIEngine(candidate(url, **fields)) as engine:
        return engine.answer([Request(text, text) for text in texts])


def replying(replies: dict) -> OddEndpoint:
    """An endpoint that replies by the prompt."""
    return OddEndpoint(lambda body, _: replies[body["prompt"]])


def refused(url: str, texts, **fields) -> str:
    """The error for the whole candidate, in words and without the key."""
    with pytest.raises(EngineError) as caught:
        ask(url, texts, **fields)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None, "what a traceback would show as well"
    return str(caught.value)


REPLIES = {
    "good": completion("yes"),
    "cut": completion("so far", finish_reason="length"),
    "empty string": completion(""),
    "scripts": completion(SCRIPTS),
    "big": completion(BIG),
    "thinking": completion(None, finish_reason="length"),
    "no usage": {"model": "m", "choices": completion("yes")["choices"]},
    "truncated": Odd(json.dumps(completion("yes")).encode()[:40]),
    "html": Odd(b"<html>Please  log in</html>", kind="text/html"),
    "no body": Odd(b""),
    "no choices": completion("yes", choices=[]),
    "null": completion(None),
    "filter": completion("half of it", finish_reason="content_filter"),
    "tools": completion(None, finish_reason="tool_calls"),
    "gateway": Odd({"error": {"message": "upstream is asleep", "code": 502}}),
    "half a pair": Odd(json.dumps(completion("x")).replace('"x"', '"\\ud83d"').encode()),
    "negative": completion("yes", usage={"prompt_tokens": -1}),
    "too long": Odd({"error": {"message": "at most 128 tokens"}}, status=400),
    "reset": Odd(reset=True),
}
REASONS = {
    "truncated": ["cannot be read", "EOF", '{"model"'],
    "html": ["no JSON but text/html", "<html>Please log in"],
    "no body": ["cannot be read"],
    "no choices": ["no choices"],
    "null": ["no text"],
    "filter": ["'content_filter'"],
    "tools": ["'tool_calls'"],
    "gateway": ["replied with an error", "upstream is asleep"],
    "half a pair": ["cannot be read", "hex escape"],
    "negative": ["cannot be read", "prompt_tokens"],
    "too long": ["status 400", "at most 128 tokens"],
    "reset": ["connection failed"],
    "   ": ["the query has no text"],
}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    """Every odd reply at once, by the query that gets it."""
    with pytest.MonkeyPatch.context() as patch, replying(REPLIES) as far:
        patch.setenv("GATEWAY_KEY", KEY)
        table = ask(far.url, [*REPLIES, "   "])
    assert table.schema == COMPLETION_SCHEMA
    assert table["query_id"].to_list() == [*REPLIES, "   "]
    assert table["seconds"].min() >= 0
    return {row["query_id"]: row for row in table.to_dicts()}


@pytest.mark.parametrize("query", REASONS)
def test_a_reply_that_is_none_is_an_error_row_with_the_reason(rows, query):
    row = rows[query]
    assert (row["outcome"], row["text"], row["finish_reason"]) == ("error", None, None)
    for part in REASONS[query]:
        assert part in row["error"]


@pytest.mark.parametrize(
    ("query", "text", "outcome"),
    [
        ("good", "yes", "ok"),
        ("cut", "so far", "truncated"),
        ("empty string", "", "ok"),
        ("scripts", SCRIPTS, "ok"),
        ("big", BIG, "ok"),
        ("thinking", "", "truncated"),
        ("no usage", "yes", "ok"),
    ],
)
def test_the_others_are_answered_all_the_same(rows, query, text, outcome):
    row = rows[query]
    assert (row["text"], row["outcome"], row["error"]) == (text, outcome, None)
    assert row["served_model"] == "m"
    tokens = (row["prompt_tokens"], row["completion_tokens"])
    assert tokens == ((None, None) if query == "no usage" else (3, 2))


def test_what_a_held_back_answer_cost_is_kept(rows):
    assert (rows["filter"]["prompt_tokens"], rows["filter"]["completion_tokens"]) == (3, 2)


def test_a_reply_that_takes_too_long_as_a_whole_is_not_waited_for():
    # Every piece of the second comes in time, and the whole would take 10 s.
    replies = {
        "late": Odd(completion("yes"), seconds=1),
        "trickle": Odd(completion("yes"), piece_seconds=0.1),
    }
    with replying(replies) as far:
        reasons = [
            ask(far.url, [query], endpoint={"timeout_seconds": 0.5})["error"].item()
            for query in replies
        ]
    assert reasons == ["no reply within 0.5 s (endpoint.timeout_seconds)"] * 2


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_waited_for_by_all(date):
    def reply(_: dict, number: int) -> Odd | dict:
        later = email.utils.formatdate(time.time() + 2, usegmt=True) if date else "1"
        return completion("yes") if number else Odd(status=429, headers={"Retry-After": later})

    with OddEndpoint(reply) as far:
        table = ask(far.url, ["a", "b", "c"], endpoint={"retries": 1, "concurrency": 1})
    assert table["outcome"].to_list() == ["ok"] * 3
    first, *others = [asked.at for asked in far.asked]
    assert len(others) == 3
    assert min(others) - first >= 1


def test_a_pause_of_hours_is_not_waited_for():
    with OddEndpoint(lambda *_: Odd(status=429, headers={"Retry-After": "3600"})) as far:
        assert "status 429" in refused(far.url, ["a", "b"], endpoint={"retries": 3})
    assert len(far.asked) == 2


def test_a_burst_of_faults_is_outlasted():
    faults = [Odd(status=500), Odd(reset=True), Odd(status=503, headers={"Retry-After": "0.01"})]
    with OddEndpoint(lambda _, n: faults[n] if n < 3 else completion("yes")) as far:
        table = ask(far.url, ["a"], endpoint={"retries": 3})
    assert table["text"].to_list() == ["yes"]
    assert len(far.asked) == 4


def test_an_endpoint_that_fails_on_every_query_is_broken():
    replies = {"a": Odd({"error": "request 17 failed"}, status=500)}
    replies["b"] = Odd({"error": "request 18 failed"}, status=500)
    with replying(replies) as far:
        message = refused(far.url, ["a", "b"])
        assert far.url in message
        assert "every query" in message
        assert "status 500: 'request 17 failed'" in message
        # One query alone says nothing of the endpoint.
        assert ask(far.url, ["a"])["outcome"].to_list() == ["error"]


def test_what_only_some_requests_suffer_is_their_own_fault():
    too_long = Odd({"error": {"message": "too long"}}, status=400)
    replies = {"short": completion("yes"), "x": too_long, "xx": too_long}
    with replying(replies) as far, OpenAIEngine(candidate(far.url)) as engine:
        engine.answer([Request("q", "short")])
        table = engine.answer([Request("q1", "x"), Request("q2", "xx")])
    assert table["outcome"].to_list() == ["error"] * 2


@pytest.mark.parametrize(
    ("status", "code", "parts"),
    [
        (401, None, ["does not accept the key", "GATEWAY_KEY"]),
        (402, None, ["no more credit", "GATEWAY_KEY", "my words"]),
        (403, None, ["does not let", "GATEWAY_KEY", "'m'", "my words"]),
        (404, None, ["knows no model 'm'", "'endpoint.url'", "my words"]),
        (429, "insufficient_quota", ["no more credit", "GATEWAY_KEY"]),
    ],
)
def test_what_no_request_can_overcome_is_told_once_without_the_key(status, code, parts):
    told = {"error": {"message": f"my words, Bearer {KEY}", "code": code}}
    with OddEndpoint(lambda *_: Odd(told, status=status)) as far:
        message = refused(far.url, ["a", "b"])
    for part in [far.url, f"status {status}", *parts]:
        assert part in message


def test_answers_of_a_shard_that_was_stopped_are_kept():
    paid = Odd({"error": {"message": "pay"}}, status=402)
    with (
        OddEndpoint(lambda _, number: completion("yes") if number < 2 else paid) as far,
        OpenAIEngine(candidate(far.url, endpoint={"concurrency": 1})) as engine,
        pytest.raises(StoppedError, match="no more credit") as caught,
    ):
        engine.answer([Request(text, text) for text in "abcd"])
    assert caught.value.rows.select("query_id", "text").rows() == [("a", "yes"), ("b", "yes")]
    assert caught.value.rows.schema == COMPLETION_SCHEMA


def test_another_model_under_the_same_name_is_refused():
    def reply(_: dict, number: int) -> dict:
        return completion("yes", model="m-1" if number < 2 else "m-2")

    one_by_one = {"concurrency": 1}
    with OddEndpoint(reply) as far:
        message = refused(far.url, ["a", "b", "c"], endpoint=one_by_one)
        for part in ("'m'", "'m-2'", "so far it was 'm-1'", "'revision'"):
            assert part in message
    with OddEndpoint(reply) as far:
        message = refused(far.url, ["a"], revision="m-2")
        assert "field 'revision' says 'm-2'" in message
    with OddEndpoint(reply) as far, OpenAIEngine(candidate(far.url)) as engine:
        engine.expect("m-0")
        with pytest.raises(EngineError, match="so far it was 'm-0'"):
            engine.answer([Request("q", "a")])


def test_an_endpoint_that_is_not_there_is_told_before_anything_is_asked():
    with OddEndpoint(lambda *_: completion("yes")) as far:
        pass
    message = refused(far.url, ["a"])
    assert f"{far.url} cannot be reached" in message


def test_a_key_that_is_refused_is_told_before_anything_is_asked():
    models = Odd({"error": f"no {KEY}"}, status=401)
    with OddEndpoint(lambda *_: completion("yes"), models=models) as far:
        assert "does not accept the key" in refused(far.url, ["a"])
        assert far.asked == []


@pytest.mark.parametrize("value", ["", "  ", "two words", "schlüssel"])
def test_a_variable_that_holds_no_key_is_told(monkeypatch, value):
    monkeypatch.setenv("GATEWAY_KEY", value)
    message = refused("http://127.0.0.1:1/v1", ["a"])
    assert "environment variable GATEWAY_KEY" in message
    assert value.strip() not in message.replace("GATEWAY_KEY", "") or not value.strip()


def test_a_reply_that_repeats_the_key_is_not_kept():
    escaped = json.dumps(completion(KEY)).replace("planted", "\\u0070lanted").encode()
    replies = {"plain": completion(f"Bearer {KEY}"), "escaped": Odd(escaped)}
    replies |= {"page": Odd(f"<p>{'x' * 190}{KEY}".encode(), kind="text/html")}
    replies |= {"fine": completion("yes")}
    replies |= {"words": Odd({"error": f"{'x' * 190}{KEY}"}, status=400)}
    with replying(replies) as far:
        table = ask(far.url, replies)
        assert far.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert table["outcome"].to_list() == ["error", "error", "error", "ok", "error"]
    assert "planted" not in str(table.to_dicts())


def test_a_short_placeholder_is_no_secret(monkeypatch):
    monkeypatch.setenv("GATEWAY_KEY", "EMPTY")
    with OddEndpoint(lambda *_: completion("EMPTY is a word")) as far:
        assert ask(far.url, ["a"])["text"].to_list() == ["EMPTY is a word"]


def test_without_a_key_none_is_sent_not_even_one_for_somebody_else(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-somebody-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-for-somebody-else")
    with OddEndpoint(lambda *_: completion("yes")) as far:
        ask(far.url, ["a"], endpoint={"key_variable": None})
    assert "authorization" not in far.asked[0].headers
    assert "somebody-else" not in str(far.asked[0].headers)


def test_a_cut_answer_is_asked_for_once_more_with_a_larger_limit():
    def reply(body: dict, _: int) -> dict:
        room = 20 if body["prompt"] == "long" else 12
        cut = body["max_tokens"] < room
        usage = {"prompt_tokens": 100, "completion_tokens": min(room, body["max_tokens"])}
        return completion("w" * 3, finish_reason="length" if cut else "stop", usage=usage)

    price = {"input": 1, "output": 10}
    with OddEndpoint(reply) as far:
        table = ask(far.url, ["long", "short"], extend=8, price=price)
    assert sorted(asked.body["max_tokens"] for asked in far.asked) == [8, 8, 16, 16]
    assert table["outcome"].to_list() == ["truncated", "ok"]
    assert table["completion_tokens"].to_list() == [16, 12]
    # Both requests are paid for: 100 tokens twice, and 8 besides the answer's own.
    assert table["cost_usd"].to_list() == pytest.approx([(200 + 240) / 1e6, (200 + 200) / 1e6])


def test_a_cut_answer_stays_when_no_longer_one_is_to_be_had():
    def reply(body: dict, _: int) -> Odd | dict:
        if body["max_tokens"] > 8:
            return Odd({"error": {"message": "the context is 100 tokens"}}, status=400)
        return completion("so far", finish_reason="length")

    with OddEndpoint(reply) as far:
        table = ask(far.url, ["a", "b"], extend=8, price={"input": 1, "output": 10})
    assert table["outcome"].to_list() == ["truncated", "truncated"]
    assert table["text"].to_list() == ["so far", "so far"]
    assert table["completion_tokens"].to_list() == [2, 2]


def test_a_cost_that_the_endpoint_tells_is_taken():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}
    with OddEndpoint(lambda *_: completion("yes", usage=usage)) as far:
        assert ask(far.url, ["a"])["cost_usd"].to_list() == [0.25]
        assert ask(far.url, ["a"], price={"input": 1, "output": 1})["cost_usd"].to_list() == [0.25]


def test_no_more_requests_at_a_time_than_allowed():
    with OddEndpoint(lambda *_: Odd(completion("yes"), seconds=0.1)) as far:
        table = ask(far.url, map(str, range(12)), endpoint={"concurrency": 3})
    assert table["outcome"].to_list() == ["ok"] * 12
    assert far.most_at_once == 3


def test_requests_are_spread_over_the_minute():
    with OddEndpoint(lambda *_: completion("yes")) as far:
        ask(far.url, "abcd", endpoint={"requests_per_minute": 600})
    arrivals = sorted(asked.at for asked in far.asked)
    assert arrivals[-1] - arrivals[0] >= 0.25


def test_models_that_know_another_name_for_the_limit_are_asked_by_it():
    def reply(body: dict, _: int) -> Odd | dict:
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        old = Odd({"error": {"message": words}}, status=400)
        return old if "max_tokens" in body else completion("yes")

    with OddEndpoint(reply) as far:
        table = ask(far.url, ["a", "b"], chat=True, endpoint={"concurrency": 1})
    assert table["text"].to_list() == ["yes", "yes"]
    assert [asked.body.get("max_completion_tokens") for asked in far.asked] == [None, 8, 8]
    assert far.asked[0].path == "/v1/chat/completions"


REQUEST = Request("q", "hi")


def test_neutral_settings_are_not_sent():
    body = request_body(REQUEST, candidate=candidate("http://far/v1"), seed=7)
    assert body == {"model": "m", "prompt": "hi", "temperature": 0.0, "max_tokens": 8}


def test_every_setting_is_sent():
    extra = {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2, "top_p": 0.9, "stop": ["\n"]}
    sampling = {"temperature": 0.5, "logprobs": 3, "json_schema": {"type": "object"}} | extra
    one = candidate("http://far/v1", sampling=sampling, chat=True, system="Be brief.")
    body = request_body(REQUEST, candidate=one, seed=7)
    schema = body.pop("response_format")
    assert schema["type"] == "json_schema"
    assert schema["json_schema"]["schema"] == {"type": "object"}
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ],
        **{"temperature": 0.5, "max_tokens": 8, "seed": 7, "logprobs": True, "top_logprobs": 3},
        **(extra | {"stop": ("\n",)}),
    }


@given(st.text() | st.floats().map(str) | st.datetimes().map(email.utils.format_datetime))
def test_any_retry_after_is_a_wait_or_none(header):
    assert retry_after(header) >= 0


def test_retry_after_in_seconds_and_as_a_date():
    assert retry_after("2.5") == 2.5
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < retry_after(date) <= 60
    assert retry_after("soon") == 0

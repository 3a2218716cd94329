"""A served router, seen through the `openai` client."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import openai
import pytest
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from cluster import registry

from .conftest import BACKEND_KEY, CLIENT_KEY, promote, register, serving
from .fake_backend import fake_backend

POEM, STORY = "a poem on 7 green trees", "tell a story about 7 old dogs"
HALF = rb'{"model": "teller", "user": "\ud800", "messages": [{"role": "user", "content": "hm"}]}'
ENDLESS = HALF.replace(rb'"\ud800"', b"1e999")


@pytest.fixture(autouse=True)
def well(served):
    """The fakes behave at the start of every test, and are known to be there."""
    for fake in (served.poet, served.teller):
        fake.status, fake.error, fake.delay, fake.breaks = 200, "it failed", 0.0, False
        fake.asked.clear()


def test_the_chosen_back_end_answers_and_the_headers_say_who(served, routers) -> None:
    raw = served.chat(POEM, temperature=0.5, user="somebody")
    assert raw.parse().choices[0].message.content == "poet answers"
    assert raw.headers["x-signalbox-candidate"] == "poet"
    assert raw.headers["x-signalbox-router"] == routers.first
    assert raw.headers["x-signalbox-policy"] == "best"
    # Half a token a character and 10 tokens of an answer, at 10 USD a million.
    cost = float(raw.headers["x-signalbox-predicted-cost-usd"])
    assert cost == pytest.approx((len(POEM) / 2 + 10) * 10e-6)
    ((key, body),) = served.poet.asked
    assert key == f"Bearer {BACKEND_KEY}"
    assert body["model"] == "poet-9b"
    assert (body["temperature"], body["user"]) == (0.5, "somebody")
    assert served.chat(STORY).parse().choices[0].message.content == "teller answers"
    assert served.teller.asked[0][0] is None, "a key is sent to its own back-end alone"


def test_a_chat_is_routed_by_its_last_user_turn_and_passed_on_whole(served) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": STORY},
        {"role": "assistant", "content": "Once upon a time"},
        {"role": "user", "content": [{"type": "text", "text": POEM}]},
        {"role": "assistant", "content": "Green"},
    ]
    served.client.chat.completions.create(model="router", messages=messages)
    assert served.poet.asked[0][1]["messages"] == messages
    assert served.teller.asked == []


def test_a_stream_comes_in_pieces_with_the_same_headers(served) -> None:
    raw = served.chat(POEM, stream=True)
    assert raw.headers["x-signalbox-candidate"] == "poet"
    words = [piece.choices[0].delta.content for piece in raw.parse()]
    assert words == ["poet", " ", "answers"]


def test_a_prompt_is_routed_as_a_chat_is(served) -> None:
    done = served.client.completions.create(model="router", prompt=[STORY])
    assert done.choices[0].text == "teller"


def test_the_models_name_asks_for_a_policy(served) -> None:
    dear = served.chat(POEM, model="router:policy=utility,lambda_usd=1")
    cheap = served.chat(POEM, model="router:policy=utility,lambda_usd=5000")
    assert dear.headers["x-signalbox-candidate"] == "poet"
    assert cheap.headers["x-signalbox-candidate"] == "teller"
    assert cheap.headers["x-signalbox-policy"] == "utility"


def test_a_candidates_own_name_is_passed_straight_on(served) -> None:
    raw = served.chat(POEM, model="teller")
    assert raw.parse().choices[0].message.content == "teller answers"
    assert raw.headers["x-signalbox-policy"] == "direct"


def test_the_models_are_listed(served) -> None:
    names = {model.id for model in served.client.models.list()}
    assert {"router", "router:policy=utility", "poet", "abacus"} <= names


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("router:policy=utility,lambda_usd=much", "valid number"),
        ("router:policy=utility", "lambda_usd"),
        ("router:policy=utility,lambda_usd=1,lambda_usd=2", "twice"),
        ("router:policy=cheapest", "not known"),
        ("router:best", "policy=NAME"),
        ("router:policy=best,colour=red", "colour"),
    ],
)
def test_a_name_that_asks_for_no_policy_is_refused_in_words(served, model, words) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as refused:
        served.chat(POEM, model=model)
    assert refused.value.param == "model"
    assert served.poet.asked == []


def test_what_cannot_be_read_is_refused_in_words(served) -> None:
    client = served.client
    with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
        served.chat(POEM, model="nobody")
    with pytest.raises(openai.BadRequestError, match="no message of role"):
        client.chat.completions.create(
            model="router", messages=[{"role": "system", "content": "hm"}]
        )
    with pytest.raises(openai.BadRequestError, match="one text"):
        client.completions.create(model="router", prompt=[1, 2, 3])
    with pytest.raises(openai.APIStatusError, match="longer than 200,000 bytes") as long:
        served.chat("x" * 10_000_000)
    assert long.value.status_code == 413
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="router", input="x")
    for body in (b"{", b"[]", b'{"messages": []}', b"\xff", b"[" * 100_000, HALF, ENDLESS):
        with pytest.raises(urllib.error.HTTPError) as broken:
            urllib.request.urlopen(
                urllib.request.Request(
                    f"{served.url}/v1/chat/completions",
                    data=body,
                    headers={"Authorization": f"Bearer {CLIENT_KEY}"},
                )
            )
        assert broken.value.code == 400


@pytest.mark.parametrize("key", ["wrong", "clé", " "])
def test_without_the_key_nothing_is_answered(served, key) -> None:
    request = urllib.request.Request(f"{served.url}/v1/models")
    request.add_header("Authorization", f"Bearer {key}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 401


def test_a_back_ends_error_is_passed_on_with_its_status_and_without_our_key(served) -> None:
    served.poet.status, served.poet.error = 429, f"slow down, {BACKEND_KEY}"
    before = served.metric('signalbox_errors_total{kind="back_end"}')
    with pytest.raises(openai.RateLimitError, match="slow down") as refused:
        served.chat(POEM)
    assert BACKEND_KEY not in str(refused.value.body)
    assert refused.value.response.headers["x-signalbox-candidate"] == "poet"
    assert served.teller.asked == [], "it is there: nobody else is asked"
    assert served.metric('signalbox_errors_total{kind="back_end"}') == before + 1


def test_an_answer_that_takes_too_long_is_given_up(served) -> None:
    served.teller.delay = 3.0
    with pytest.raises(openai.InternalServerError, match="within 2 s") as late:
        served.chat(STORY)
    assert late.value.status_code == 504


def test_an_answer_that_breaks_off_ends_in_an_error(served) -> None:
    served.poet.breaks = True
    with pytest.raises(openai.InternalServerError, match="broke off"):
        served.chat(POEM)
    pieces = served.client.chat.completions.create(
        model="router", messages=[{"role": "user", "content": POEM}], stream=True
    )
    with pytest.raises(openai.APIError, match="broke off"):
        list(pieces)


def test_where_a_back_end_says_it_is_not_there_the_next_best_answers(served) -> None:
    served.poet.status = 503
    before = served.metric('signalbox_fallbacks_total{candidate="poet"}')
    for _ in range(2):
        raw = served.chat(POEM)
        assert raw.parse().choices[0].message.content == "teller answers"
        assert raw.headers["x-signalbox-instead-of"] == "poet"
    assert len(served.poet.asked) == 1, "the second request did not wait for it"
    assert served.health()["down"] == ["poet"]
    assert served.metric('signalbox_fallbacks_total{candidate="poet"}') == before + 2
    # The client named it: nobody else answers, and its own error is told.
    with pytest.raises(openai.InternalServerError, match="it failed"):
        served.chat(POEM, model="poet")
    served.poet.status = 200
    # One that answers is there again, at once.
    served.chat(POEM, model="poet")
    assert "x-signalbox-instead-of" not in served.chat(POEM).headers


def test_where_nobody_listens_the_next_best_answers(served) -> None:
    """The real back-ends' ports are free until their tests start them."""
    raw = served.chat("add 3 and 4")
    assert raw.headers["x-signalbox-instead-of"].split(",")[0] == "abacus"
    assert raw.parse().choices[0].message.content in ("poet answers", "teller answers")
    with pytest.raises(openai.InternalServerError, match="'abacus' is down") as down:
        served.chat("add 3 and 4", model="abacus")
    assert down.value.status_code == 503


def test_requests_at_once_are_predicted_together(served) -> None:
    before = served.metric("signalbox_batch_size_sum"), served.metric("signalbox_batch_size_count")
    start = threading.Barrier(16)

    def ask(number: int) -> str:
        start.wait()
        text = POEM if number % 2 else STORY
        return str(served.chat(text).parse().choices[0].message.content)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    assert answers == ["poet answers" if n % 2 else "teller answers" for n in range(64)]
    asked = served.metric("signalbox_batch_size_sum") - before[0]
    batches = served.metric("signalbox_batch_size_count") - before[1]
    assert asked == 64
    assert batches < 64


def test_a_promoted_router_takes_over_while_requests_go_on(served, routers) -> None:
    seen: list[tuple[str, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            raw = served.chat(POEM)
            text = str(raw.parse().choices[0].message.content)
            seen.append((raw.headers["x-signalbox-router"], text))

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        served.teller.delay = 1.5
        slow = pool.submit(served.chat, STORY)
        wait_until(lambda: served.teller.asked)
        served.teller.delay = 0.0
        promote(routers.lake, routers.second)
        wait_until(lambda: slow.done() and seen and seen[-1][0] == routers.second)
        stop.set()
        for one in asking:
            one.result()
    # Each is of one piece: the version in the header is the one that chose.
    assert set(seen) == {(routers.first, "poet answers"), (routers.second, "teller answers")}
    assert slow.result().headers["x-signalbox-router"] == routers.first
    assert served.health()["router"] == routers.second
    assert served.metric('signalbox_reloads_total{outcome="loaded"}') == 1
    assert served.metric("signalbox_router{") == 1


def test_a_damaged_router_does_not_take_over(served, routers) -> None:
    damaged = register(routers.lake, name="damaged", swapped=False, k=3)
    weights = Path(routers.lake.storage.uri) / "checkpoints/damaged/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    before = served.health()["router"]
    promote(routers.lake, damaged)
    wait_until(lambda: served.metric('signalbox_reloads_total{outcome="failed"}') >= 2)
    assert served.chat(POEM).headers["x-signalbox-router"] == before
    registry.rollback(routers.lake, why="test")


def test_no_text_and_no_key_is_written_down(served) -> None:
    """Of all that was asked so far, errors among it."""
    served.chat(f"{POEM}, planted-text-4471")
    served.poet.breaks = True
    with pytest.raises(openai.InternalServerError):
        served.chat(f"{POEM}, planted-text-4471", model="poet")
    telling = [
        path
        for path in (served.err, *served.files.rglob("*"))
        if path.is_file() and path.name != "token"
        for planted in (b"planted-text-4471", CLIENT_KEY.encode(), BACKEND_KEY.encode())
        if planted in path.read_bytes()
    ]
    assert telling == []
    assert "serving router" in "".join(
        path.read_text(errors="replace") for path in served.files.rglob("*serve/*.log")
    ), "the replicas' logs were among them"


def test_a_cluster_that_stays_is_left_as_it_was(routers, ray_address, tmp_path) -> None:
    with fake_backend("poet") as poet:
        (tmp_path / "backends.yaml").write_text(f"poet: {{url: {poet.url}}}\n")
        flags = ["--backends", tmp_path / "backends.yaml", "--allowed", "poet"]
        flags += ["--ray-address", ray_address]
        # The cluster's own token.
        names = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
        token = {name: os.environ[name] for name in names if name in os.environ}
        with serving(routers.lake, flags, log=tmp_path / "err", **token) as (process, url, _):
            wait_until(lambda: "serving at" in (tmp_path / "err").read_text())
            with (
                pytest.raises(AssertionError, match="serves already"),
                serving(routers.lake, flags, log=tmp_path / "other", **token),
            ):
                pass
            assert json.loads(urllib.request.urlopen(f"{url}/health").read())["status"] == "ok"
            poet.may_reply.clear()
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            messages = [{"role": "user", "content": "add 3 and 4"}]
            with ThreadPoolExecutor(1) as pool:
                under_way = pool.submit(
                    client.chat.completions.create, model="router", messages=messages
                )
                wait_until(lambda: poet.asked)
                process.send_signal(signal.SIGTERM)
                wait_until(lambda: status(f"{url}/health") == 503)
                with pytest.raises(openai.InternalServerError, match="about to stop") as refused:
                    client.chat.completions.create(model="router", messages=messages)
                assert refused.value.status_code == 503
                poet.may_reply.set()
                # Whoever is allowed alone is chosen, and what was begun is ended.
                assert under_way.result().choices[0].message.content == "poet answers"
            # Refused to the end, and then nobody listens: no route is missing in between.
            assert set(statuses_to_the_end(f"{url}/v1/models")) == {503}
            process.communicate(timeout=60)
            assert process.returncode == 0
        assert ServeSubmissionClient(ray_address).get_serve_details()["applications"] == {}
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(f"{url}/health")


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def statuses_to_the_end(url: str) -> Iterator[int]:
    """Of requests one after the other, until the connection is lost or none is made."""
    with suppress(OSError):
        while True:
            yield status(url)
            time.sleep(0.01)


def wait_until(true: Callable[[], object], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)

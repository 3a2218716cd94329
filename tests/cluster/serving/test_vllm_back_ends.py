"""A served router in front of real vLLM servers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from .conftest import Served, wait_for

MODELS = Path(__file__).parents[3] / "infra/demo/models"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}A:"
SUM, FEET = "add 3 and 4", "how many inches are 3 feet"


@pytest.fixture(scope="module")
def servers(served: Served, tmp_path_factory) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two of the demo's models, where the served router looks for them."""
    folder = tmp_path_factory.mktemp("vllm")
    (folder / "template").write_text(TEMPLATE)
    with ExitStack() as stack:
        started = {}
        for name, port in served.ports.items():
            command = vllm_command(name, port=port, template=folder / "template")
            log = stack.enter_context((folder / name).open("w"))
            started[name] = stack.enter_context(
                subprocess.Popen(command, env=os.environ | SETTINGS, stdout=log, stderr=log)
            )
            stack.callback(started[name].terminate)
        for name, port in served.ports.items():
            url = f"http://127.0.0.1:{port}/health"
            wait_for(url, process=started[name], log=folder / name)
        yield started


SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


def vllm_command(name: str, *, port: int, template: Path) -> list[str]:
    """What `vllm serve` runs, which does not start where vLLM is installed as vllm-cpu."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(MODELS / name), "--served-model-name", name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--chat-template", str(template)]
    command += ["--dtype", "float32", "--generation-config", "vllm", "--enforce-eager"]
    return [*command, "--no-enable-chunked-prefill", "--no-enable-prefix-caching"]


def direct(served: Served, name: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{served.ports[name]}/v1", api_key="none")


def greedy(client: openai.OpenAI, model: str, text: str) -> str:
    done = client.completions.create(model=model, prompt=text, max_tokens=16, temperature=0)
    return f"{done.model}: {done.choices[0].text}"


def test_the_chosen_server_answers_as_it_does_when_it_is_asked_itself(served, servers) -> None:
    for text, name in ((SUM, "abacus"), (FEET, "polymath")):
        prompt = f"{text}\nA:"
        answer = greedy(served.client, "router", prompt)
        assert answer == greedy(direct(served, name), name, prompt)
        assert answer == greedy(served.client, name, prompt)
        assert answer.startswith(name)


def test_a_chat_streams_as_it_would_from_the_server(served, servers) -> None:
    ask = {
        "messages": [{"role": "user", "content": FEET}],
        "max_tokens": 16,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    streams = []
    for client, model in ((served.client, "router"), (direct(served, "polymath"), "polymath")):
        pieces = list(client.chat.completions.create(model=model, **ask))
        words = [piece.choices[0].delta.content for piece in pieces if piece.choices]
        streams.append((words, pieces[-1].usage, pieces[0].model))
    assert streams[0] == streams[1]
    assert len(streams[0][0]) > 1


def test_many_at_once_get_each_their_own_answer(served, servers) -> None:
    texts = [
        f"add {n} and {n + 1}" if n % 2 else f"how many inches are {n} feet" for n in range(48)
    ]
    prompts = [f"{text}\nA:" for text in texts]
    alone = [
        greedy(direct(served, name), name, prompt)
        for n, prompt in enumerate(prompts)
        for name in [("polymath", "abacus")[n % 2]]
    ]
    with ThreadPoolExecutor(16) as pool:
        routed = list(pool.map(lambda prompt: greedy(served.client, "router", prompt), prompts))
    assert routed == alone


def test_what_a_server_refuses_is_told_in_its_words(served, servers) -> None:
    with pytest.raises(openai.BadRequestError) as own:
        direct(served, "abacus").completions.create(model="abacus", prompt=SUM, max_tokens=10**6)
    with pytest.raises(openai.BadRequestError) as told:
        served.client.completions.create(model="router", prompt=SUM, max_tokens=10**6)
    assert told.value.body == own.value.body


def test_a_server_that_died_is_stepped_in_for(served, servers) -> None:
    servers["abacus"].terminate()
    servers["abacus"].wait(60)
    raw = served.client.completions.with_raw_response.create(model="router", prompt=SUM)
    assert raw.headers["x-signalbox-instead-of"] == "abacus"
    assert raw.headers["x-signalbox-candidate"] != "abacus"
    assert raw.parse().choices[0].text

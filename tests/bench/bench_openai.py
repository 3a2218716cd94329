"""Tokens per second of `OpenAIEngine.answer` against a straight client of the same server.

    python tests/bench/bench_openai.py MODEL [--prompts 256] [--rounds 7] [--max-tokens 24]
        [--concurrency 16]

Starts vLLM's server on loopback with the model and stops it. The straight client sends the same
bodies through one HTTP client with the same concurrency, and reads only the usage. The two take
turns, so that a busy machine slows both. Prints each side's median and, as the result, the
rounds' ratio: median, least and most.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from cluster.candidate import Candidate
from cluster.engines.engine import Request
from cluster.engines.openai import OpenAIEngine, request_body

TEXTS = ("What is {a} plus {b}?", "Write {a} in Roman numerals.", "How many metres are {a} km?")
START_SECONDS = 300
KEY = "a-key-for-this-run"


@contextmanager
def server(model: Path) -> Iterator[str]:
    """URL of vLLM's server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "bench", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--generation-config", "vllm", "--enforce-eager"]
    command += ["--no-enable-chunked-prefill", "--no-enable-prefix-caching"]
    command += ["--disable-uvicorn-access-log", "--api-key", KEY]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    with subprocess.Popen(command, env=settings | dict(os.environ)) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process=process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def wait_for(url: str, *, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit("the server did not start")


class Straight:
    """What one would write for this server alone."""

    def __init__(self, url: str, *, concurrency: int) -> None:
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        headers = {"Authorization": f"Bearer {KEY}"}
        self.client = httpx2.AsyncClient(limits=limits, timeout=300, headers=headers)
        self.url = f"{url}/completions"
        self.concurrency = concurrency
        self.runner = asyncio.Runner()

    def tokens(self, bodies: list[dict]) -> int:
        return sum(self.runner.run(self.ask_all(bodies)))

    async def ask_all(self, bodies: list[dict]) -> list[int]:
        turns = asyncio.Semaphore(self.concurrency)

        async def one(body: dict) -> int:
            async with turns:
                response = await self.client.post(self.url, json=body)
            return response.raise_for_status().json()["usage"]["completion_tokens"]

        return await asyncio.gather(*map(one, bodies))

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()


def speed(tokens, given) -> float:
    start = time.perf_counter()
    return tokens(given) / (time.perf_counter() - start)


def compare(url: str, *, options: argparse.Namespace) -> None:
    endpoint = {"url": url, "concurrency": options.concurrency, "key_variable": "BENCH_KEY"}
    os.environ["BENCH_KEY"] = KEY
    spec = {"name": "bench", "engine": "openai", "model": "bench", "endpoint": endpoint}
    sampling = {"max_tokens": options.max_tokens}
    candidate = Candidate.model_validate(spec | {"sampling": sampling})
    requests = [
        Request(str(i), TEXTS[i % len(TEXTS)].format(a=i * 37 % 1000, b=i * 91 % 1000))
        for i in range(options.prompts)
    ]
    bodies = [request_body(one, candidate=candidate, seed=0) for one in requests]
    straight = Straight(url, concurrency=options.concurrency)
    with OpenAIEngine(candidate) as engine:

        def ours(given: list[Request]) -> int:
            return int(engine.answer(given)["completion_tokens"].sum())

        sides = [(ours, requests), (straight.tokens, bodies)]
        assert ours(requests) == straight.tokens(bodies), "the two must do the same work"
        rounds = []
        for number in range(options.rounds):
            # Who goes first takes turns as well.
            order = sides if number % 2 else sides[::-1]
            found = {tokens: speed(tokens, given) for tokens, given in order}
            rounds.append(tuple(found[tokens] for tokens, _ in sides))
    straight.close()
    ratios = [mine / theirs for mine, theirs in rounds]
    mine, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
    print(
        f"concurrency {options.concurrency}: openai {mine:,.0f} tokens/s, straight client "
        f"{theirs:,.0f} tokens/s, ratio {statistics.median(ratios):.3f} "
        f"(min {min(ratios):.3f}, max {max(ratios):.3f}, {options.rounds} rounds); "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    with server(options.model) as url:
        compare(url, options=options)


if __name__ == "__main__":
    main()

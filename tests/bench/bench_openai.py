"""Tokens per second of `OpenAIEngine.answer` against a straight client of the same server.

    python tests/bench/bench_openai.py MODEL [--prompts 256] [--rounds 7] [--max-tokens 128]
        [--concurrency 16]

Starts vLLM's server on loopback with weights by lot in the model's shape, and stops it. The
straight client sends the same bodies through one HTTP client with the same concurrency, and reads
only the usage. The two take turns, so that a busy machine slows both. Prints each side's median
and, as the result, the rounds' ratio: median, least and most; by wall time and by processor time
of client and server together, which a busy machine disturbs less (set OMP_NUM_THREADS=1).
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from cluster.candidate import Candidate
from cluster.engines.engine import Request
from cluster.engines.openai import OpenAIEngine, request_body

TEXTS = ("What is {a} plus {b}?", "Write {a} in Roman numerals.", "How many metres are {a} km?")
START_SECONDS = 300
KEY = "a-key-for-this-run"


def draw_weights(model: Path, *, folder: str) -> None:
    """A model of the same shape that does not know when to end: the demo's answers are brief."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(model)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)


@contextmanager
def server(model: str) -> Iterator[tuple[str, int]]:
    """URL and process id of vLLM's server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--served-model-name", "bench", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--generation-config", "vllm", "--enforce-eager"]
    command += ["--no-enable-chunked-prefill", "--no-enable-prefix-caching"]
    command += ["--disable-uvicorn-access-log", "--api-key", KEY]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    with subprocess.Popen(command, env=settings | dict(os.environ)) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process=process)
            yield f"http://127.0.0.1:{port}/v1", process.pid
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


def processor_seconds(pid: int) -> float:
    """Of this process, and of the server with its engine."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return time.process_time() + sum(one.user + one.system for one in times)


def speed(tokens, given, *, pid: int) -> dict[str, float]:
    """Tokens per second of wall time and of processor time."""
    start = time.perf_counter(), processor_seconds(pid)
    made = tokens(given)
    wall, processor = time.perf_counter() - start[0], processor_seconds(pid) - start[1]
    return {"wall time": made / wall, "processor time": made / processor}


def compare(url: str, *, pid: int, options: argparse.Namespace) -> None:
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
        made = ours(requests)
        assert made == straight.tokens(bodies), "the two must do the same work"
        rounds = []
        for number in range(options.rounds):
            # Who goes first takes turns as well.
            order = sides if number % 2 else sides[::-1]
            found = {tokens: speed(tokens, given, pid=pid) for tokens, given in order}
            rounds.append(tuple(found[tokens] for tokens, _ in sides))
    straight.close()
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(
        f"{options.prompts} answers of {made / options.prompts:.0f} tokens, concurrency "
        f"{options.concurrency}, {load}"
    )
    for clock in ("wall time", "processor time"):
        show(clock, pairs=[(mine[clock], theirs[clock]) for mine, theirs in rounds])


def show(clock: str, *, pairs: list[tuple[float, float]]) -> None:
    ratios = [mine / theirs for mine, theirs in pairs]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{clock}: openai {mine:,.0f} tokens/s, straight client {theirs:,.0f} tokens/s, ratio "
        f"{statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}, "
        f"{len(pairs)} rounds)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw_weights(options.model, folder=folder)
        with server(folder) as (url, pid):
            compare(url, pid=pid, options=options)


if __name__ == "__main__":
    main()

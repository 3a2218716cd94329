"""What `signalbox serve` adds to a request: latency and requests a second against direct calls.

    python tests/bench/bench_serve.py [--requests 400] [--rounds 5] [--concurrency 1,16]
        [--answer-ms 0,50]

A back-end on loopback, in a process of its own, answers after a fixed time; the router in front of
it is a cluster_table fitted on the demo's questions. The same bodies are sent straight to the
back-end and through the router, in turns, by one client that keeps its connections. Prints for each
concurrency the requests a second of both sides with their ratio, the added latency at the median
and at the 99th percentile (difference of the sides' percentiles), and of the replica's own time
the part up to the choice, and the processor time of Serve's processes, which a busy machine
disturbs less. Client, back-end, proxy and replica share the machine's cores.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import polars as pl
import psutil
from aiohttp import web

from cluster import registry
from cluster.gate.decision import Decision
from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.cluster_table import ClusterTable

QUESTIONS = Path(__file__).parents[2] / "infra/demo/questions/collect.jsonl"
CANDIDATES = ("one", "two", "three", "four")
START_SECONDS = 120


def register_router(folder: Path) -> Lake:
    """A champion that knows the demo's tasks; what it would answer does not matter here."""
    rows = pl.read_ndjson(QUESTIONS).unique("text", maintain_order=True)
    tasks = rows["task"].unique(maintain_order=True).to_list()
    best = np.array([tasks.index(task) % len(CANDIDATES) for task in rows["task"]])
    reward = np.eye(len(CANDIDATES))[best]
    queries = rows.select("text", "task", query_id="text", split=pl.lit("train"))
    queries = queries.with_columns(dataset=pl.lit("bench"), sampling_probability=pl.lit(1.0))
    tokens = np.full(reward.shape, 10.0)
    outcomes = OutcomeMatrix(
        queries, CANDIDATES, CANDIDATES, reward, tokens, tokens, tokens, tokens, tokens * 0
    )
    lake = Lake.open(str(folder / "lake"), create=True)
    checkpoint = f"{lake.storage.uri}/checkpoints/bench"
    router = ClusterTable().fit(outcomes, seed=0)
    ratios = {"prompt_tokens_per_character": dict.fromkeys(CANDIDATES, 0.25)}
    meta = CheckpointMeta(candidate_ids=CANDIDATES, data=ratios)
    version = save_checkpoint(router, checkpoint, meta=meta)
    registry.register(
        lake,
        version=version,
        checkpoint=checkpoint,
        method="cluster_table",
        dataset="bench",
        metrics={},
        why="bench",
    )
    registry.promote(lake, version=version, decide=lambda _: Decision(promote=True, why="bench"))
    return lake


def run_backend(port: int) -> None:
    """Answers after the milliseconds that a request asks for in `user`."""
    message = {"role": "assistant", "content": "four, or so it seems to the back-end"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    content = json.dumps(reply | {"choices": [choice]}).encode()

    async def answer(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        await asyncio.sleep(float(body["user"]) / 1000)
        return web.Response(body=content, content_type="application/json")

    app = web.Application()
    app.router.add_get("/health", lambda _: asyncio.sleep(0, web.Response()))
    app.router.add_post("/v1/chat/completions", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: list[str], *, health: str) -> Iterator[int]:
    """The process id."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, f"{command} ended"
                assert time.monotonic() < deadline, f"{command} did not start"
                try:
                    urllib.request.urlopen(health, timeout=5).close()
                except OSError:
                    time.sleep(0.3)
                else:
                    break
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)


@dataclass(frozen=True)
class Side:
    """Where requests go; `is_chat` or not, a page without a body."""

    name: str
    url: str
    is_chat: bool = True


class Client:
    """Sends chats, and notes how long each took."""

    def __init__(self, bodies: list[bytes], *, concurrency: int) -> None:
        self.bodies = bodies
        self.concurrency = concurrency

    def send(self, side: Side) -> tuple[float, list[float]]:
        """Seconds of all, and of each."""
        return asyncio.run(self._send(side))

    async def _send(self, side: Side) -> tuple[float, list[float]]:
        turns = asyncio.Semaphore(self.concurrency)
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def one(body: bytes) -> float:
                async with turns:
                    start = time.perf_counter()
                    method, data = ("POST", body) if side.is_chat else ("GET", None)
                    async with session.request(method, side.url, data=data) as response:
                        assert response.status == 200, await response.text()
                        await response.read()
                    return time.perf_counter() - start

            start = time.perf_counter()
            each = await asyncio.gather(*map(one, self.bodies))
            return time.perf_counter() - start, each


def bodies(count: int, *, answer_ms: float) -> list[bytes]:
    texts = pl.read_ndjson(QUESTIONS)["text"].to_list()
    asked = []
    for number in range(count):
        messages = [{"role": "user", "content": texts[number % len(texts)]}]
        body = {"model": "router", "messages": messages, "user": str(answer_ms)}
        asked.append(json.dumps(body).encode())
    return asked


def compare(direct: str, routed: str, *, pid: int, options: argparse.Namespace) -> None:
    path = "/v1/chat/completions"
    straight, ours = Side("direct", direct + path), Side("routed", routed + path)
    serve_alone = Side("Ray Serve alone", f"{routed}/health", is_chat=False)
    for answer_ms in options.answer_ms:
        for concurrency in options.concurrency:
            # One at a time that takes its time would take minutes.
            count = options.requests // (4 if concurrency == 1 and answer_ms else 1)
            client = Client(bodies(count, answer_ms=answer_ms), concurrency=concurrency)
            client.send(straight), client.send(ours)
            before, spent = deciding(routed), processor_seconds(pid)
            rounds = []
            for number in range(options.rounds):
                # Who goes first takes turns.
                order = (straight, ours) if number % 2 else (ours, straight)
                found = {side.name: client.send(side) for side in order}
                rounds.append((found["direct"], found["routed"]))
            print(f"answers after {answer_ms:g} ms, concurrency {concurrency}:")
            show(rounds, count=count)
            asked = count * options.rounds
            show_parts(before, deciding(routed), spent, processor_seconds(pid), asked=asked)
            if not answer_ms:
                _, each = client.send(serve_alone)
                print(
                    f"  Ray Serve alone (GET /health): p50 {1000 * statistics.median(each):.1f} ms"
                )


def show_parts(
    before: tuple[float, ...],
    after: tuple[float, ...],
    spent: dict[str, float],
    now: dict[str, float],
    *,
    asked: int,
) -> None:
    seconds, decided, batches, batched = (x - y for x, y in zip(after, before, strict=True))
    parts = ", ".join(f"{part} {1000 * (now[part] - spent[part]) / asked:.1f} ms" for part in now)
    print(
        f"  in the replica {1000 * seconds / decided:.1f} ms up to the choice, "
        f"{batched / batches:.1f} in a batch; processor time of a request: {parts}"
    )


def deciding(url: str) -> tuple[float, ...]:
    """Seconds and number of decisions; number of batches, and requests in them."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    decided, sizes = "signalbox_deciding_seconds", "signalbox_batch_size"
    names = (f"{decided}_sum", f"{decided}_count", f"{sizes}_count", f"{sizes}_sum")
    return tuple(float(values[name]) for name in names)


def processor_seconds(pid: int) -> dict[str, float]:
    """Of Serve's proxy and replica, below the command."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        for part, mark in (("proxy", "ray::ProxyActor"), ("replica", "ray::ServeReplica")):
            if mark in "".join(process.cmdline()):
                times = process.cpu_times()
                found[part] = times.user + times.system
    return found


def show(rounds: list, *, count: int) -> None:
    rates = [tuple(count / side[0] for side in pair) for pair in rounds]
    ratios = [routed / direct for direct, routed in rates]
    direct, routed = (statistics.median(side) for side in zip(*rates, strict=True))
    print(
        f"  requests/s: direct {direct:,.0f}, routed {routed:,.0f}, ratio "
        f"{statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f}, "
        f"{len(rounds)} rounds)"
    )
    each = [np.concatenate([pair[side][1] for pair in rounds]) * 1000 for side in (0, 1)]
    words = []
    for name, share in (("p50", 50), ("p99", 99)):
        theirs, mine = (float(np.percentile(side, share)) for side in each)
        words.append(f"{name} direct {theirs:.1f}, routed {mine:.1f}, added {mine - theirs:.1f}")
    print(f"  latency in ms: {'; '.join(words)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    numbers = {"type": lambda text: [int(part) for part in text.split(",")]}
    parser.add_argument("--concurrency", default=[1, 16], **numbers)
    parser.add_argument("--answer-ms", default=[0, 50], **numbers)
    parser.add_argument("--backend", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.backend:
        run_backend(options.backend)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lake = register_router(folder)
        backend, port = free_port(), free_port()
        direct, routed = f"http://127.0.0.1:{backend}", f"http://127.0.0.1:{port}"
        lines = [f"{one}: {{url: {direct}/v1}}\n" for one in CANDIDATES]
        (folder / "backends.yaml").write_text("".join(lines))
        serve = [sys.executable, "-m", "flows.cli", "serve", "--lake", lake.storage.uri]
        serve += ["--backends", str(folder / "backends.yaml"), "--port", str(port)]
        with (
            running(
                [sys.executable, __file__, "--backend", str(backend)], health=f"{direct}/health"
            ),
            running(serve, health=f"{routed}/health") as pid,
        ):
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            compare(direct, routed, pid=pid, options=options)


if __name__ == "__main__":
    main()

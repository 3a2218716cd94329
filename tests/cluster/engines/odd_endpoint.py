"""An endpoint on loopback that replies whatever a test wants, broken connections included."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Odd:
    """What is sent back: `piece_seconds` between its bytes, or no reply but a reset."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    seconds: float = 0.0
    piece_seconds: float = 0.0
    reset: bool = False


@dataclass
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


def completion(text: str | None, *, finish_reason: str = "stop", model: str = "m", **more) -> dict:
    """A completion, for either API."""
    choice = {"text": text, "message": {"content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return {"model": model, "choices": [choice], "usage": usage} | more


class OddEndpoint:
    """Serves while it is entered.

    Args:
        reply: makes a reply of a request's body and its number, from 0; a dict is sent as JSON.
        models: what is replied to `GET /models`.
    """

    def __init__(self, reply: Callable[[dict, int], Odd | dict], *, models: Odd | None = None):
        self.reply, self.models = reply, models or Odd({"data": []})
        self.asked: list[Asked] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                endpoint.send(self, endpoint.models)

            def do_POST(self) -> None:
                endpoint.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            number = len(self.asked)
            self.asked.append(Asked(handler.path, headers, body, time.monotonic()))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = self.reply(body, number)
        odd = reply if isinstance(reply, Odd) else Odd(reply)
        time.sleep(odd.seconds)
        with self._lock:
            self._at_once -= 1
        self.send(handler, odd)

    def send(self, handler: BaseHTTPRequestHandler, odd: Odd) -> None:
        if odd.reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            handler.connection.close()
            return
        body = odd.body if isinstance(odd.body, bytes) else json.dumps(odd.body).encode()
        try:
            handler.send_response(odd.status)
            for name, value in {"content-type": odd.kind, **odd.headers}.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            size = 1 if odd.piece_seconds else max(1, len(body))
            for start in range(0, len(body), size):
                handler.wfile.write(body[start : start + size])
                time.sleep(odd.piece_seconds)
        except ConnectionError:  # the client has given up
            handler.close_connection = True

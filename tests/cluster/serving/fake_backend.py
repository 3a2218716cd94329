"""A back-end on loopback that answers at once, and misbehaves when it is told to."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeBackend:
    """What it answers, and what it was asked.

    Attributes:
        status: of its replies; from 400 on they are errors.
        error: an error's message.
        delay: seconds before a reply.
        may_reply: whether it replies at all, and until when not.
        breaks: break the connection off amid a reply.
        asked: (authorization, body) of every request.
    """

    name: str
    port: int = 0
    status: int = 200
    error: str = "it failed"
    delay: float = 0.0
    breaks: bool = False
    may_reply: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": f"{self.name} answers"}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "text": self.name}
        return {"id": "1", "object": "x", "created": 0, "model": body["model"], "choices": [choice]}

    def pieces(self, body: dict[str, Any]) -> Iterator[str]:
        for word in (self.name, " ", "answers"):
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            piece = {"id": "1", "object": "chat.completion.chunk", "created": 0}
            yield json.dumps(piece | {"model": body["model"], "choices": [choice]})
        yield "[DONE]"


@contextmanager
def fake_backend(name: str, *, port: int = 0) -> Iterator[FakeBackend]:
    """One that listens for the length of a block."""
    fake = FakeBackend(name)
    fake.may_reply.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.asked.append((self.headers["Authorization"], body))
            time.sleep(fake.delay)
            fake.may_reply.wait(30)
            if fake.status >= 400:
                self.send({"error": {"message": fake.error}}, status=fake.status)
            elif body.get("stream"):
                self.stream(body)
            elif fake.breaks:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.close_connection = True
            else:
                self.send(fake.reply(body), status=200)

        def send(self, content: dict[str, Any], *, status: int) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in fake.pieces(body):
                line = f"data: {piece}\n\n".encode()
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
                if fake.breaks:
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    fake.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
